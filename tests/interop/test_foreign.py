"""Checkpoints as people have them: wrapped, without configuration, with harmless objects beside."""

import collections
import datetime
import decimal
import json
import pathlib
import pickle

import ml_dtypes
import numpy as np
import pytest
from cases import checkpoint, imported, load, same, student
from safetensors.numpy import save_file
from torch_files import Ops, Writer, legacy_file, name, text, zip_file

import d2v_jax as d2v
from d2v_jax.common import trees
from d2v_jax.common.checks import UserError
from d2v_jax.interop.allowed import StandIn, plain
from d2v_jax.interop.fairseq import reader, told
from d2v_jax.interop.fairseq.original import Original
from d2v_jax.interop.pickles.inert import UnsafeCheckpoint
from d2v_jax.interop.pickles.torch_pickle import read


def pickled(value) -> Ops:
    return Ops(pickle.dumps(value, 2)[2:-1])


def made(module: str, kind: str, state: bytes) -> bytes:
    """A pickled object of a class that is not installed, with its fields."""
    return name(module, kind) + b")\x81" + state + b"b"


HARMLESS = {
    "path": pickled(pathlib.PurePosixPath("/out/run")),
    "own path": pickled(pathlib.Path("/out/run")),
    "time": pickled(datetime.datetime(2024, 5, 1, tzinfo=datetime.UTC)),
    "duration": pickled(datetime.timedelta(days=1)),
    "counter": pickled(collections.Counter("banana")),
    "queue": pickled(collections.deque([1, 2], maxlen=5)),
    "decimal": pickled(decimal.Decimal("1.5")),
    "numbers": pickled([np.float32(1.5), np.int64(3), np.bool_(True)]),
    "key": pickled({pathlib.PurePosixPath("/a"): 1, collections.OrderedDict: 2}),
    "set": pickled({"a", "b"}),
    "frozen": pickled(frozenset({1, 2})),
    "type": Ops(name("typing", "Any")),
    "hyper-parameters": Ops(
        name("pytorch_lightning.utilities.parsing", "AttributeDict")
        + b")\x81("
        + text("lr")
        + b"K\x01u"
    ),
    "enum": Ops(name("examples.data2vec.data.modality", "Modality") + b"K\x01\x85R"),
}


@pytest.mark.parametrize("kind", HARMLESS)
@pytest.mark.parametrize("write", [zip_file, legacy_file])
def test_harmless_objects_beside_the_weights(tmp_path, monkeypatch, kind, write):
    monkeypatch.chdir(tmp_path)
    content = checkpoint("v2_text") | {"extra_state": {"it": HARMLESS[kind]}}
    got = reader.read_fairseq(write(tmp_path / "f.pt", content), images_per_device=2)
    same(got.student, imported("v2_text").student)
    assert [path.name for path in tmp_path.iterdir()] == ["f.pt"]


@pytest.mark.parametrize(
    "module, attribute",
    [
        ("pathlib", "Path.unlink"),
        ("pathlib", "os"),
        ("datetime", "sys"),
        ("collections", "namedtuple"),
        ("collections.abc", "sys"),
        ("fairseq.checkpoint_utils", "torch_persistent_save"),
        ("transformers.pipelines", "pipeline"),
        ("pathlibs", "Path"),
        ("os", "PathLike"),
        ("importlib", "Module"),
    ],
)
def test_functions_of_harmless_packages_are_refused(tmp_path, module, attribute):
    code = name(module, attribute) + text("x") + b"\x85R"
    with pytest.raises(UnsafeCheckpoint, match=f"asks for {module}.{attribute}"):
        read(zip_file(tmp_path / "f.pt", {"extra_state": Ops(code)}))


def test_a_stand_in_can_do_nothing(tmp_path):
    code = pickle.dumps(pathlib.PurePosixPath("/out"), 2)[2:-1]
    found = read(zip_file(tmp_path / "f.pt", {"x": Ops(code)}))["x"]
    assert isinstance(found, StandIn) and not callable(found)
    assert not isinstance(found, pathlib.PurePath) and found.arguments == ("/", "out")
    for state in (b"}" + text("__class__") + text("x") + b"s", b"}K\x01K\x02s"):
        with pytest.raises(UnsafeCheckpoint, match="sets attribute"):
            read(zip_file(tmp_path / "f.pt", {"x": Ops(code + state + b"b")}))
    with pytest.raises(UserError, match=r"1 not a tensor: .* is an object of pathlib\.Pure"):
        content = checkpoint("v2_text")
        content["model"]["blocks.0.norm1.bias"] = Ops(code)
        load(tmp_path, content)


def test_a_configuration_of_omegaconf_is_read(tmp_path):
    def wrapped(value):
        if isinstance(value, dict):
            inner = {key: wrapped(v) for key, v in value.items()}
            return Namespaced("omegaconf.dictconfig", "DictConfig", _content=inner, _parent=None)
        if isinstance(value, list):
            rows = [wrapped(v) for v in value]
            return Namespaced("omegaconf.listconfig", "ListConfig", _content=rows)
        return Namespaced("omegaconf.nodes", "AnyNode", _val=value)

    content = checkpoint("v2_audio")
    config = content["cfg"]
    got = load(tmp_path, content | {"cfg": ops_of(wrapped(config))})
    assert got.config == imported("v2_audio").config
    found = read(zip_file(tmp_path / "f.pt", {"cfg": ops_of(wrapped(config))}))["cfg"]
    assert plain(found) == config


class Namespaced:
    def __init__(self, module: str, kind: str, **state):
        self.module, self.kind, self.state = module, kind, state


def ops_of(value) -> Ops:
    """Opcodes of dicts, lists and scalars with such objects in between."""

    def code(value) -> bytes:
        if isinstance(value, Namespaced):
            return made(value.module, value.kind, code(value.state))
        if isinstance(value, dict):
            return b"}(" + b"".join(code(k) + code(v) for k, v in value.items()) + b"u"
        if isinstance(value, list):
            return b"](" + b"".join(map(code, value)) + b"e"
        return Writer().ops(value)

    return Ops(code(value))


WRAPPED = {
    "bare": lambda flat: flat,
    "model": lambda flat: {"model": flat},
    "lightning": lambda flat: {
        "state_dict": {f"model.{k}": v for k, v in flat.items()} | {"loss.w": np.ones(2, "f4")},
        "hyper_parameters": {"lr": 1e-3},
        "pytorch-lightning_version": "2.2.0",
    },
    "data parallel": lambda flat: {"model": {f"module.{k}": v for k, v in flat.items()}},
    "compiled": lambda flat: {"model": {f"_orig_mod.{k}": v for k, v in flat.items()}},
    "both": lambda flat: {f"module._orig_mod.{k}": v for k, v in flat.items()},
    "an encoder's": lambda flat: {f"model.encoder.{k}": v for k, v in flat.items()},
    "with others": lambda flat: {
        "model": {f"d2v_model.{k}": v for k, v in flat.items()} | {"proj.weight": np.ones((9, 36))}
    },
    "state": lambda flat: {"model_state_dict": flat, "epoch": 3},
}


@pytest.mark.parametrize("wrapping", WRAPPED)
def test_wrapped_weights(tmp_path, wrapping):
    flat = student(checkpoint("v2_audio"))
    got = load(tmp_path, WRAPPED[wrapping](flat))
    same(got.student, imported("v2_audio").student)
    assert got.config["trunk"]["heads"] == 6 and got.head is None


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
@pytest.mark.parametrize("write", [zip_file, legacy_file])
def test_weights_of_other_precision(tmp_path, dtype, write):
    flat = {k: v.astype(dtype) for k, v in student(checkpoint("v2_audio")).items()}
    got = reader.read_fairseq(write(tmp_path / "f.pt", {"model": flat}))
    expected = trees.map_with_path(
        lambda _, leaf: np.asarray(leaf).astype(dtype).astype(np.float32),
        imported("v2_audio").student,
    )
    same(got.student, expected)


@pytest.mark.parametrize("case", ["v2_audio", "v2_image", "v2_text", "v1_audio", "v1_text"])
def test_without_what_pretraining_alone_needs(tmp_path, case):
    """As emotion2vec is published: the encoder, and nothing that training would need."""
    content = checkpoint(case)
    flat = student(content)
    other = ("decoder.", "final_proj.", "regression_head.", "mask_emb")
    if case == "v1_text":
        other = ("regression_head.",)
    flat = {k: v for k, v in flat.items() if not any(word in k for word in other)}
    assert len(flat) < len(student(content))
    got = load(tmp_path, {"model": flat, "cfg": content["cfg"]})
    whole = imported(case).student
    same(got.student, {k: v for k, v in whole.items() if k not in ("decoder", "mask")})


@pytest.mark.parametrize("system", told.BASES)
def test_sizes_told_by_weights_are_those_of_the_recipe(system, caplog):
    config = told.BASES[system].get_config().to_dict()
    config["trunk"]["depth"] = 2
    config["targets"]["blocks"] = (0, 1)
    if config["modality"] == "text":
        config["frontend"] |= {"vocab_size": 99, "mask_id": 98}
    body = {
        key: np.broadcast_to(np.float32(0), shape)
        for rule in reader.layout(system, config).student
        for key, shape in zip(rule.theirs, rule.shapes, strict=True)
    }
    body |= {
        c.theirs: np.broadcast_to(np.float32(0), c.shape)
        for c in reader.layout(system, config).student_constants
    }
    cfg = told.config(system, body, None)
    got = reader._config(Original(system, body, None, {}, None, "", "", cfg, True), None)
    for section in ("trunk", "frontend", "positions", "decoder", "targets", "loss"):
        there = {k: v for k, v in got[section].items() if not k.startswith("zero")}
        expected = {k: v for k, v in config[section].items() if not k.startswith("zero")}
        assert there == expected, section
    assert ("keeps no configuration" in caplog.text and "norm_eps" in caplog.text) or "v1" in system


def test_the_remedies_work_when_followed(tmp_path):
    """What the message of a refusal asks for is done, and then the file is read."""
    content = checkpoint("v1_audio")
    weights = student(content)
    with pytest.raises(
        UserError, match=r"torch\.save\(\{'model': STATE_DICT, 'cfg': CFG\}, PATH\)"
    ):
        load(tmp_path, weights)
    with pytest.raises(
        UserError, match=r"torch\.save\(\{'model': STATE_DICT, 'cfg': CFG\}, PATH\)"
    ):
        load(tmp_path, content | {"extra_state": Ops(b"cos\nsystem\n")})
    got = load(tmp_path, {"model": weights, "cfg": content["cfg"]})
    same(got.student, imported("v1_audio").student)


def test_names_of_hugging_face_in_a_torch_file(tmp_path):
    flat = {"data2vec_audio.feature_extractor.conv_layers.0.conv.weight": np.ones((2, 1, 10), "f4")}
    with pytest.raises(UserError, match=r"as pytorch_model\.bin into a folder"):
        load(tmp_path, flat)


LAYOUTS = {
    "model.safetensors": lambda flat, place: save_file(flat, place / "model.safetensors"),
    "pytorch_model.bin": lambda flat, place: zip_file(place / "pytorch_model.bin", flat),
    "shards": lambda flat, place: shards(flat, place, "model.safetensors", save_file),
    "torch shards": lambda flat, place: shards(
        flat, place, "pytorch_model.bin", lambda part, path: zip_file(path, part)
    ),
}


def shards(flat, place, name, write):
    stem, _, suffix = name.partition(".")
    where = {key: f"{stem}-0000{n % 3}-of-00003.{suffix}" for n, key in enumerate(flat)}
    for shard in set(where.values()):
        write({key: flat[key] for key in flat if where[key] == shard}, place / shard)
    (place / f"{name}.index.json").write_text(json.dumps({"weight_map": where}))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_folders_of_weights_alone(tmp_path, layout):
    """As accelerate saves them: no configuration beside."""
    flat = {f"module.{k}": v.copy() for k, v in student(checkpoint("v2_audio")).items()}
    LAYOUTS[layout](flat, tmp_path)
    assert d2v.load(tmp_path).config.trunk.heads == 6
    same(reader.read_fairseq(tmp_path).student, imported("v2_audio").student)
    if layout == "model.safetensors":
        assert d2v.load(tmp_path / layout).config.trunk.heads == 6
