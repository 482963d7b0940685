"""Our own folders come back as they were saved; others' are refused."""

import json
import os
import pathlib

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from d2v_jax.common import trees
from d2v_jax.common.checks import UserError
from d2v_jax.interop.fairseq.reader import read_fairseq
from d2v_jax.interop.huggingface import hf_files
from d2v_jax.interop.ours import safetensors_io

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"
SYSTEMS = ("v1_audio", "v1_text", "v1_vision", "v2_audio", "v2_image", "v2_text")
STUDENT = {"trunk": {"norm": {"scale": np.arange(3, dtype=np.float32)}}}
HEAD = {"kind": "ctc", "labels": ["a", "b"], "params": {"out": {"bias": np.ones(2, np.float32)}}}


def same(one, other):
    ours, theirs = dict(trees.leaves(one)), dict(trees.leaves(other))
    assert ours.keys() == theirs.keys()
    for path in ours:
        assert ours[path].dtype == np.float32
        np.testing.assert_array_equal(ours[path], theirs[path])


@pytest.mark.parametrize("case", SYSTEMS)
def test_every_system_comes_back(case, tmp_path):
    model = read_fairseq(GOLDEN / case / "checkpoint.pt")
    safetensors_io.save(tmp_path, model.student, model.teacher, None, model.config)
    saved = safetensors_io.load(tmp_path)
    same(saved.student, model.student)
    same(saved.teacher, model.teacher)
    assert saved.head is None
    assert saved.config == json.loads(json.dumps(model.config))


def test_names_that_are_not_utf8(tmp_path):
    """In the recipe and of the folder."""
    folder, config = tmp_path / os.fsdecode(b"caf\xe9"), {"source": os.fsdecode(b"\xe9 \xc3\xa9")}
    safetensors_io.save(folder, STUDENT, STUDENT, None, config)
    assert safetensors_io.load(folder).config == config


def test_names_in_the_file(tmp_path):
    safetensors_io.save(tmp_path, STUDENT, STUDENT, HEAD, {"seed": 3})
    assert load_file(tmp_path / "model.safetensors").keys() == {
        "student/trunk/norm/scale",
        "teacher/trunk/norm/scale",
        "head/out/bias",
    }
    content = json.loads((tmp_path / "config.json").read_text())
    assert content == {
        "format": "d2v_jax",
        "seed": 3,
        "saved_head": {"kind": "ctc", "labels": ["a", "b"]},
    }
    saved = safetensors_io.load(tmp_path)
    assert saved.config == {"seed": 3} and saved.head["labels"] == ["a", "b"]
    same(saved.head["params"], HEAD["params"])


def test_no_teacher_no_head(tmp_path):
    safetensors_io.save(tmp_path, STUDENT, None, None, {})
    saved = safetensors_io.load(tmp_path)
    assert saved.teacher is None and saved.head is None


def test_saving_again_replaces_or_leaves(tmp_path, monkeypatch):
    safetensors_io.save(tmp_path, STUDENT, STUDENT, HEAD, {"seed": 3})
    safetensors_io.save(tmp_path, STUDENT, None, None, {"seed": 4})
    saved = safetensors_io.load(tmp_path)
    assert saved.teacher is None and saved.head is None and saved.config == {"seed": 4}

    def full(arrays, path, metadata):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(hf_files, "save_file", full)
    with pytest.raises(UserError, match="cannot be written: .*No space left"):
        safetensors_io.save(tmp_path, STUDENT, None, HEAD, {"seed": 5})
    assert safetensors_io.load(tmp_path).config == {"seed": 4}
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["config.json", "model.safetensors"]


def test_broken_numbers_are_not_saved(tmp_path):
    broken = {"trunk": {"norm": {"scale": np.array([1, np.inf], np.float32)}}}
    with pytest.raises(UserError, match="NaN or infinite numbers, in student/trunk/norm/scale"):
        safetensors_io.save(tmp_path / "out", broken, None, None, {})
    assert not (tmp_path / "out").exists()


@pytest.fixture
def saved(tmp_path):
    safetensors_io.save(tmp_path, STUDENT, None, HEAD, {"seed": 3})
    return tmp_path


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"encoder.weight": np.ones(2, np.float32)}, "encoder.weight, which is no path of ours"),
        ({"student/a//b": np.ones(2, np.float32)}, "student/a//b, which is no path of ours"),
        ({"student/trunk/norm": np.ones(2, np.float32)}, "norm/scale and something it would"),
        ({"student/a": np.ones(2, np.int32)}, "student/a as int32, not floating point"),
        ({"student/a": np.array([np.nan], np.float32)}, "NaN or infinite numbers, in student/a"),
    ],
)
def test_foreign_arrays(saved, extra, message):
    path = saved / "model.safetensors"
    save_file(load_file(path) | extra, path)
    with pytest.raises(UserError, match=f"model.safetensors.*{message}"):
        safetensors_io.load(saved)


def test_other_precisions(saved):
    path = saved / "model.safetensors"
    flat = load_file(path)
    flat["student/trunk/norm/scale"] = np.array([1.5], ml_dtypes.bfloat16)
    save_file(flat, path)
    same(safetensors_io.load(saved).student, {"trunk": {"norm": {"scale": np.float32([1.5])}}})


def test_foreign_and_damaged_folders(saved):
    path, config = saved / "model.safetensors", saved / "config.json"
    content, whole = json.loads(config.read_text()), path.read_bytes()
    config.write_text(json.dumps({"model_type": "data2vec-audio"}))
    with pytest.raises(UserError, match="format=None, not 'd2v_jax': .*Hugging Face folder"):
        safetensors_io.load(saved)
    config.write_text(json.dumps({"format": "other"}))
    with pytest.raises(UserError, match="format='other', .*of another program"):
        safetensors_io.load(saved)
    content.pop("saved_head")
    config.write_text(json.dumps(content))
    with pytest.raises(UserError, match="only one of config.json and model.safetensors has a head"):
        safetensors_io.load(saved)
    path.write_bytes(whole[:-1])
    with pytest.raises(UserError, match="model.safetensors is damaged or not a safetensors file"):
        safetensors_io.load(saved)
    save_file({"head/out/bias": np.ones(2, np.float32)}, path)
    with pytest.raises(UserError, match="model.safetensors: holds no student"):
        safetensors_io.load(saved)
    path.unlink()
    with pytest.raises(UserError, match="lacks model.safetensors"):
        safetensors_io.load(saved)
    config.unlink()
    with pytest.raises(UserError, match="config.json cannot be read"):
        safetensors_io.load(saved)
