"""Strangers' modalities, pretrained with 2.0's recipe, probed, looked at, converted, read back."""

import json
import pathlib

import numpy as np
import pytest
import soundfile

import d2v_jax as d2v
from d2v_jax.cli.main import main
from d2v_jax.data.modality import data_class

HERE = pathlib.Path(__file__).parent
RECIPE = """
from d2v_jax.configs import base, image

def get_config(arg=""):
    c = image.smoke(image.get_config())  # data2vec 2.0's, shrunk
    c.recipe, c.modality = "{name}", "outside.{name}"
    for section in ("data", "frontend"):  # what only pictures have
        for name in set(c[section]) - set(base.get_config()[section]):
            del c[section][name]
    c.data.source = "{source}"
    c.data.{length}, c.frontend.patch = {size}, {patch}
    c.trunk.depth, c.targets.blocks = 2, (0, 1)
    c.mask.block = 2
    c.train.steps, c.train.batch_size, c.train.checkpoint_every = 12, 8, 6
    return c
"""


def recordings(folder: pathlib.Path) -> None:
    """Two people, whose rhythms differ in speed, on 32 channels."""
    rng = np.random.default_rng(0)
    for person, speed in (("ann", 0.2), ("bob", 0.5)):
        (folder / person).mkdir(parents=True)
        for number in range(6):
            phase = rng.uniform(0, 6, (32, 1))
            wave = np.sin(speed * np.arange(160) + phase) + 0.1 * rng.normal(size=(32, 160))
            np.save(folder / person / f"{number}.npy", wave.astype(np.float32))


def sounds(folder: pathlib.Path) -> None:
    """Low and high tones."""
    rng = np.random.default_rng(0)
    for name, hertz in (("low", 300), ("high", 2000)):
        (folder / name).mkdir(parents=True)
        for number in range(6):
            wave = np.sin(2 * np.pi * hertz * rng.uniform(0.9, 1.1) * np.arange(16_000) / 16_000)
            wave = 0.3 * wave + 0.01 * rng.normal(size=wave.shape)
            soundfile.write(folder / name / f"{number}.wav", wave, 16_000, "PCM_16")


MODALITIES = {
    "eeg": (recordings, {"length": "samples", "size": 96, "patch": 16}, (32, 6)),
    "log_mel": (sounds, {"length": "frames", "size": 64, "patch": 16}, (5, 4)),
}


@pytest.fixture(scope="module", params=list(MODALITIES))
def trained(request, tmp_path_factory):
    """(name, folder with the examples, run folder)."""
    root, name = tmp_path_factory.mktemp(request.param), request.param
    make, fields, _ = MODALITIES[name]
    make(root / "examples")
    recipe = root / f"{name}.py"
    recipe.write_text(RECIPE.format(name=name, source=root / "examples", **fields))
    assert main(["pretrain", "--config", str(recipe), "--workdir", str(root / "run")]) == 0
    return name, root / "examples", root / "run"


def test_it_learns(trained):
    records = [json.loads(line) for line in (trained[2] / "metrics.jsonl").open()]
    assert records[-1]["loss"] < 0.9 * records[0]["loss"]
    assert records[-1]["teacher_decay"] > 0


def test_it_is_probed_and_looked_at(trained, capsys):
    run = trained[2]
    assert main(["probe", str(run)]) == 0
    said = capsys.readouterr().out
    assert "student" in said and "teacher" in said and "2 classes" in said
    assert main(["inspect", str(run)]) == 0
    assert "frontend/patch/kernel" in capsys.readouterr().out
    assert main(["inspect", str(run), "--plan"]) == 0
    assert "activations" in capsys.readouterr().out


def test_it_is_converted_and_read_back(trained, tmp_path):
    name, _, run = trained
    assert main(["convert", str(run), str(tmp_path / "out"), "--to", "safetensors"]) == 0
    ours, back = d2v.load(run), d2v.load(tmp_path / "out")
    shape = ours.recipe.data.example_shape
    inputs = np.random.default_rng(0).normal(size=(3, *shape)).astype(np.float32)
    tokens = np.stack(ours.features(inputs, pool=None))
    rows, columns = MODALITIES[name][2]
    assert tokens.shape == (3, rows * columns, ours.config.trunk.width)
    np.testing.assert_array_equal(tokens, np.stack(back.features(inputs, pool=None)))
    np.testing.assert_array_equal(
        ours.as_teacher().features(inputs), back.as_teacher().features(inputs)
    )


def test_features_of_a_folder(trained, tmp_path):
    _, examples, run = trained
    out = tmp_path / "features.npz"
    assert main(["features", str(run), str(examples), "--out", str(out), "--teacher"]) == 0
    assert np.load(out)["features"].shape == (12, 32)


def test_masks_follow_the_grid(trained):
    """Squares of channels and time, not of a row."""
    one = d2v.load(trained[2])
    rows, columns = MODALITIES[trained[0]][2]
    frontend = one.config.frontend
    assert frontend.grid == (rows, None)
    assert frontend.token_count(one.recipe.data.example_shape) == rows * columns


@pytest.mark.parametrize("name", list(MODALITIES))
def test_a_stranger_needs_few_lines(name):
    lines = (HERE / "outside" / f"{name}.py").read_text().splitlines()
    assert len(lines) < 100
    assert data_class(f"outside.{name}").__module__ == f"outside.{name}"
