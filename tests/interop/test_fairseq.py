"""Checkpoints of the original code become our fields and trees, or are refused by key or field."""

import json
import pathlib

import jax
import ml_dtypes
import numpy as np
import pytest
from torch_files import Ops, zip_file

from d2v_jax.common import trees
from d2v_jax.common.checks import UserError
from d2v_jax.data2vec.model import Model
from d2v_jax.interop import fairseq, keymap, v2_config
from d2v_jax.interop.inert import UnsafeCheckpoint
from d2v_jax.interop.torch_pickle import read
from d2v_jax.train.config import resolve

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"
CASE = GOLDEN / "v2_image"
QKV = "blocks.1.attn.qkv.weight"
POSITIONS = "modality_encoders.IMAGE.fixed_positional_encoder.positions"


@pytest.fixture(scope="module")
def imported():
    return fairseq.read_fairseq(CASE / "checkpoint.pt", images_per_device=2)


@pytest.fixture
def checkpoint():
    """The golden checkpoint, to be spoilt: its dicts are fresh with every test."""
    return read(CASE / "checkpoint.pt")


def load(tmp_path, checkpoint, **options):
    return fairseq.read_fairseq(zip_file(tmp_path / "f.pt", checkpoint), **options)


def shapes(tree):
    return {path: leaf.shape for path, leaf in trees.leaves(tree)}


def test_the_tree_is_our_models(imported):
    model = Model(resolve(imported.config).model)
    ours = jax.eval_shape(model.init, jax.random.key(0))
    assert shapes(imported.student) == shapes(ours)
    owned = {part: ours[part] for part in model.cfg.teacher.owns}
    assert shapes(imported.teacher) == shapes(owned)
    both = [*trees.leaves(imported.student), *trees.leaves(imported.teacher)]
    assert all(leaf.dtype == np.float32 and leaf.flags.owndata for _, leaf in both)


def test_every_number_is_taken_once(imported, checkpoint):
    counts = json.loads((CASE / "config.json").read_text())
    # They count the fixed positions as parameters; for us they are constants.
    positions = checkpoint["model"][POSITIONS].size
    assert trees.count(imported.student) + positions == counts["n_params_student"]
    keys = [theirs for _, theirs, _ in imported.report]
    theirs = {k: v for k, v in checkpoint["model"].items() if k != "_ema"}
    theirs |= {f"_ema.{k}": v for k, v in checkpoint["model"]["_ema"].items()}
    assert sorted(keys) == sorted(k for k in theirs if not k.endswith(POSITIONS))
    leaves = dict(trees.leaves({"student": imported.student, "teacher": imported.teacher}))
    for ours, key, shape in imported.report:
        assert leaves[ours].shape == shape
        np.testing.assert_array_equal(np.sort(leaves[ours], None), np.sort(theirs[key], None))


def test_layouts(imported, checkpoint):
    model, student = checkpoint["model"], imported.student
    image = "modality_encoders.IMAGE"
    kernel = model[f"{image}.local_encoder.proj.weight"]
    assert student["frontend"]["patch"]["kernel"][2, 5, 1, 7] == kernel[7, 1, 2, 5]
    assert student["prefix"]["tokens"][0, 3] == model[f"{image}.extra_tokens"][0, 0, 3]
    qkv = student["trunk"]["block_01"]["attention"]["qkv"]["kernel"]
    assert qkv[3, 50] == model[QKV][50, 3]
    out = student["trunk"]["block_02"]["attention"]["out"]["kernel"]
    assert out[3, 5] == model["blocks.2.attn.proj.weight"][5, 3]
    conv = model[f"{image}.decoder.blocks.2.0.weight"]
    assert student["decoder"]["conv_02"]["kernel"][0, 2, 7, 9] == conv[9, 7, 0, 2]
    norm = student["prenet"]["norm"]["scale"]
    np.testing.assert_array_equal(norm, model[f"{image}.context_encoder.norm.weight"])


def test_gradients_and_moved_teacher_convert_alike(imported):
    arrays = np.load(CASE / "arrays.npz")
    pick = lambda prefix: {
        k.removeprefix(prefix): arrays[k] for k in arrays.files if k.startswith(prefix)
    }
    gradients = fairseq.convert_student(pick("grad/"), imported.config)
    assert shapes(gradients) == shapes(imported.student)
    moved = imported.convert_teacher(pick("ema_after/"))
    assert shapes(moved) == shapes(imported.teacher)
    grad = arrays[f"grad/{QKV}"]
    assert gradients["trunk"]["block_01"]["attention"]["qkv"]["kernel"][3, 50] == grad[50, 3]


# --- configuration ---------------------------------------------------------------------------


def test_fields(imported):
    config = imported.config
    assert config["data"]["image_size"] == 64 and config["frontend"]["patch_size"] == 8
    assert config["trunk"] == {
        "width": 32, "heads": 4, "prenet_depth": 1, "depth": 3, "mlp_ratio": 4.0,
        "norm_eps": 1e-6, "prefix_tokens": 1, "dtype": "float32",
    }  # fmt: skip
    assert config["mask"] == {
        "kind": "inverse_blocks", "share": 0.8, "adjust": 0.07, "block": 3, "views": 4,
    }  # fmt: skip
    assert config["decoder"] == {
        "width": 32, "kernel": 3, "groups": 4, "layers": 3, "noise_std": 0.0,
    }  # fmt: skip
    assert config["targets"] == {
        "layers": 2, "site": "ffn", "layer_norms": ("instance",), "final_norms": ("layer",),
    }  # fmt: skip
    assert config["loss"] == {"beta": 0.0, "scale": None, "cls_weight": 0.01 * 2 * 4}
    assert config["teacher"] == {
        "owns": ("frontend", "prefix", "prenet", "trunk"),
        "decay_start": 0.9, "decay_end": 0.99, "decay_steps": 10,
    }  # fmt: skip


def sections(checkpoint):
    model = checkpoint["cfg"]["model"]
    return model, model["modalities"]["image"], model["modalities"]["image"]["decoder"]


def test_other_values(checkpoint):
    model, image, decoder = sections(checkpoint)
    model |= {
        "layer_norm_target_layer": True, "instance_norm_targets": True, "loss_scale": 0.5,
        "end_of_block_targets": True, "loss_beta": 2, "cls_loss": 0,
    }  # fmt: skip
    image["ema_local_encoder"] = False
    config = v2_config.image_config(model, image, decoder, half_precision=True)
    assert config["targets"]["layer_norms"] == ("instance", "layer")
    assert config["targets"]["final_norms"] == ("layer", "instance")
    assert config["targets"]["site"] == "block"
    assert config["loss"] == {"beta": 2.0, "scale": 0.5, "cls_weight": 0}
    assert config["teacher"]["owns"] == ("prefix", "prenet", "trunk")
    assert config["trunk"]["dtype"] == "bfloat16"
    resolve(config)


def test_plain_sections_suffice():
    """The groups of fields may come from elsewhere than a checkpoint."""
    case = json.loads((CASE / "config.json").read_text())
    groups = case["model"], case["modality_encoder"], case["decoder"]
    resolve(v2_config.image_config(*groups, half_precision=False))


@pytest.mark.parametrize("batch, views", [(None, 16 * 4), (8, 8 * 4)])
def test_cls_weight_of_the_batch_per_device(tmp_path, checkpoint, batch, views):
    checkpoint["cfg"]["dataset"] = {"batch_size": batch}
    assert load(tmp_path, checkpoint).config["loss"]["cls_weight"] == pytest.approx(0.01 * views)


UNKNOWN = {
    **{("model", f): v for f, v in v2_config.MODEL_ONLY.items()},
    **{("image", f): v for f, v in v2_config.MODALITY_ONLY.items()},
    **{("decoder", f): v for f, v in v2_config.DECODER_ONLY.items()},
}


@pytest.mark.parametrize("where, field", UNKNOWN)
def test_what_we_cannot_represent_is_named(checkpoint, where, field):
    known = UNKNOWN[where, field]
    other = (not known) if isinstance(known, bool) else 0.25
    groups = dict(zip(("model", "image", "decoder"), sections(checkpoint), strict=True))
    groups[where][field] = other
    with pytest.raises(UserError, match=rf"{field}={other}: our image model only knows"):
        v2_config.image_config(*groups.values())


@pytest.mark.parametrize(
    "where, field, value, words",
    [
        ("model", "embed_dim", None, "embed_dim=None must be a number"),
        ("model", "embed_dim", "32", "embed_dim='32' must be a number"),
        ("model", "embed_dim", 48, r"modalities\.image\.embed_dim=32"),
        ("model", "depth", 10**9, "depth=1000000000 must be a number from 1 to 1000"),
        ("model", "depth", 2.5, "depth=2.5 must be a whole number"),
        ("model", "depth", True, "depth=True must be a number"),
        ("model", "norm_eps", float("nan"), "norm_eps=nan"),
        ("model", "layer_norm_targets", "yes", "layer_norm_targets='yes' must be true or false"),
        ("image", "mask_prob", [], "mask_prob=a list"),
        ("image", "decoder", None, "decoder should be a group of fields, but is None"),
        ("decoder", "decoder_dim", -1, "decoder_dim=-1"),
    ],
)
def test_broken_fields_are_named(tmp_path, checkpoint, where, field, value, words):
    groups = dict(zip(("model", "image", "decoder"), sections(checkpoint), strict=True))
    groups[where][field] = value
    with pytest.raises(UserError, match=words):
        load(tmp_path, checkpoint)


# --- weights that do not fit -----------------------------------------------------------------


def spoilt(array, index, value):
    copy = array.copy()
    copy.flat[index] = value
    return copy


@pytest.mark.parametrize(
    "spoil, words",
    [
        (lambda m: m.pop(QKV), f"student does not fit.*\n  1 missing: {QKV}"),
        (lambda m: m["_ema"].pop(QKV), f"teacher .*\n  1 missing: {QKV}"),
        (lambda m: m.pop(POSITIONS), f"1 missing: {POSITIONS}"),
        (lambda m: m.update(extra=m[QKV]), "1 left over: extra"),
        (lambda m: m["_ema"].update(extra=m[QKV]), "1 left over: extra"),
        (lambda m: m.update({QKV: m[QKV].T}), rf"{QKV} is \(32, 96\), expected \(96, 32\)"),
        (lambda m: m.update({QKV: spoilt(m[QKV], 5, np.nan)}), f"not finite .*: {QKV}"),
        (lambda m: m.update({QKV: spoilt(m[QKV], 5, np.inf)}), f"not finite .*: {QKV}"),
        (lambda m: m.update({QKV: m[QKV].astype(np.float64) * 1e300}), f"not finite .*: {QKV}"),
        (lambda m: m.update({QKV: np.ones((96, 32), np.int64)}), f"{QKV} is int64"),
        (lambda m: m.update({QKV: [1.0]}), f"{QKV} is a list"),
        (lambda m: m.update({POSITIONS: spoilt(m[POSITIONS], 9, 0.5)}), f"ourselves: {POSITIONS}"),
        (lambda m: m.update({3: m[QKV]}), "model has a int for a key"),
        (lambda m: m.update(_ema=[]), r"model\['_ema'\] is a list"),
    ],
)
def test_weights_that_do_not_fit_are_named(tmp_path, checkpoint, spoil, words):
    spoil(checkpoint["model"])
    with pytest.raises(UserError, match=words) as error:
        load(tmp_path, checkpoint)
    assert str(error.value).startswith(str(tmp_path / "f.pt"))


def test_all_problems_are_listed_at_once(tmp_path, checkpoint):
    model = checkpoint["model"]
    del model["blocks.0.norm1.weight"]
    model["surplus"] = model[QKV]
    model[QKV] = model[QKV][:, :5].copy()
    with pytest.raises(UserError, match=r"1 missing.*\n.*1 of another shape.*\n.*1 left over"):
        load(tmp_path, checkpoint)
    many = {k: v for k, v in model.items() if ".attn." not in k and k not in (QKV, "surplus")}
    with pytest.raises(UserError, match=r"17 missing: .*") as error:
        load(tmp_path, checkpoint | {"model": many})
    assert "more" not in str(error.value)
    with pytest.raises(UserError, match=r"and \d+ more") as error:
        load(tmp_path, checkpoint | {"model": {POSITIONS: model[POSITIONS]}})
    assert str(error.value).count("weight") <= keymap.SHOWN


def test_depth_against_weights(tmp_path, checkpoint):
    checkpoint["cfg"]["model"]["depth"] = 2
    with pytest.raises(UserError, match=r"12 left over: blocks\.2\.norm1\.weight"):
        load(tmp_path, checkpoint)


def test_no_teacher(tmp_path, checkpoint):
    del checkpoint["model"]["_ema"]
    got = load(tmp_path, checkpoint)
    assert got.teacher is None and got.student
    assert all(ours.startswith("student/") for ours, _, _ in got.report)


def test_a_teacher_of_blocks_only(tmp_path, checkpoint):
    """Where the teacher owns the trunk alone, its names start with the block's number."""
    checkpoint["cfg"]["model"]["ema_encoder_only"] = True
    ema = checkpoint["model"]["_ema"]
    blocks = {k.removeprefix("blocks."): v for k, v in ema.items() if k.startswith("blocks.")}
    checkpoint["model"]["_ema"] = blocks
    got = load(tmp_path, checkpoint)
    assert list(got.teacher) == ["trunk"] and got.config["teacher"]["owns"] == ("trunk",)
    np.testing.assert_array_equal(
        got.teacher["trunk"]["block_01"]["mlp"]["fc1"]["kernel"], ema["blocks.1.mlp.fc1.weight"].T
    )
    resolve(got.config)


def test_no_prefix_tokens(tmp_path, checkpoint):
    image = checkpoint["cfg"]["model"]["modalities"]["image"]
    image["num_extra_tokens"] = checkpoint["cfg"]["model"]["cls_loss"] = 0
    for part in (checkpoint["model"], checkpoint["model"]["_ema"]):
        del part["modality_encoders.IMAGE.extra_tokens"]
    got = load(tmp_path, checkpoint)
    ours = jax.eval_shape(Model(resolve(got.config).model).init, jax.random.key(0))
    assert shapes(got.student) == shapes(ours)


@pytest.mark.parametrize("dtype", [np.float16, np.float64, ml_dtypes.bfloat16])
def test_precisions_become_float32(tmp_path, checkpoint, imported, dtype):
    model = checkpoint["model"]
    for key in [k for k in model if k != "_ema"]:
        model[key] = model[key].astype(dtype)
    got = load(tmp_path, checkpoint, images_per_device=2)
    for (_, a), (_, b) in zip(
        trees.leaves(got.student), trees.leaves(imported.student), strict=True
    ):
        assert a.dtype == np.float32
        np.testing.assert_allclose(a, b, rtol=4 * float(ml_dtypes.finfo(dtype).eps), atol=1e-6)


def test_names_of_older_files(tmp_path, checkpoint, imported):
    old = POSITIONS.replace("positions", "pos_embed")
    for part in (checkpoint["model"], checkpoint["model"]["_ema"]):
        part[old] = part.pop(POSITIONS)
        part["modality_encoders.IMAGE.encoder_mask"] = np.zeros(3, np.float32)
    got = load(tmp_path, checkpoint)
    assert shapes(got.student) == shapes(imported.student)
    checkpoint["model"][POSITIONS] = checkpoint["model"][old]
    with pytest.raises(UserError, match=f"left over: {old}"):
        load(tmp_path, checkpoint)


# --- other checkpoints -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "case, words",
    [
        ("v1_audio", r"data2vec 1\.0 speech model \(it has the key feature_extractor\."),
        ("v1_text", r"data2vec 1\.0 text model \(it has the key encoder\.sentence_encoder\."),
        ("v1_vision", r"data2vec 1\.0 image model"),
        ("v2_audio", r"data2vec 2\.0 speech model \(it has the key modality_encoders\.AUDIO\."),
        ("v2_text", r"data2vec 2\.0 text model \(it has the key modality_encoders\.TEXT\."),
    ],
)
def test_other_systems_are_called_by_their_name(case, words):
    with pytest.raises(UserError, match=words):
        fairseq.read_fairseq(GOLDEN / case / "checkpoint.pt")


@pytest.mark.parametrize(
    "prefix, words",
    [
        ("model.", r"fine-tuned for classification \(it has the key model\.modality_encoders"),
        ("w2v_encoder.w2v_model.", "fine-tuned with CTC"),
        ("backbone.", "none of its keys starts with"),
    ],
)
def test_fine_tuned_and_foreign_models(tmp_path, checkpoint, prefix, words):
    model = {f"{prefix}{k}": v for k, v in checkpoint["model"].items() if k != "_ema"}
    with pytest.raises(UserError, match=words):
        load(tmp_path, checkpoint | {"model": model})


@pytest.mark.parametrize(
    "value, words",
    [
        ({}, "no entry 'model' .it has: nothing"),
        ({"state_dict": {}}, "no entry 'model' .it has: state_dict"),
        ({"model": [1]}, "model is a list"),
        ({"model": {}}, "no data2vec model"),
        ({"module": {}}, r"data2vec 1\.0 image model"),
    ],
)
def test_no_model_inside(tmp_path, value, words):
    with pytest.raises(UserError, match=words):
        load(tmp_path, value)


def test_no_configuration_inside(tmp_path, checkpoint):
    with pytest.raises(UserError, match="cfg should be a group of fields, but is None"):
        load(tmp_path, checkpoint | {"cfg": None})


def test_a_hostile_checkpoint_stays_unsafe(tmp_path, checkpoint):
    checkpoint["extra_state"] = Ops(b"cos\nsystem\n")
    with pytest.raises(UnsafeCheckpoint, match=r"asks for os\.system"):
        load(tmp_path, checkpoint)
