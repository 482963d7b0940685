"""Features as files: three formats, everything that can be read, and what is interrupted."""

import json
import os
import shutil

import numpy as np
import pytest
import systems
from pyarrow import parquet
from safetensors import safe_open

from d2v_jax.cli.main import main
from d2v_jax.common import rng
from d2v_jax.transfer import encoder, feature_files, features
from d2v_jax.transfer.encoder import Encoder


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """Weights of a small encoder of pictures, and twenty of them."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("features")
    config = systems.small("v2_image_base")
    params = config.objective.init(rng.stream(0, "init"), config.data.example_shape)
    Encoder(config, params, None, None, 0).save(folder / "weights")
    (folder / "in").mkdir()
    draw = np.random.default_rng(0)
    for number in range(20):
        size = (60 + number, 90)
        pixels = draw.integers(0, 256, (*size, 3), np.uint8)
        Image.fromarray(pixels).save(folder / "in" / f"{number:02d}.png")
    return folder / "weights", folder / "in"


def written(image, out, *more):
    assert main(["features", str(image[0]), str(image[1]), "--out", str(out), *more]) == 0
    return out


def test_three_formats_say_the_same(image, tmp_path):
    npz = np.load(written(image, tmp_path / "f.npz"))
    with safe_open(written(image, tmp_path / "f.safetensors"), "numpy") as file:
        np.testing.assert_array_equal(file.get_tensor("features"), npz["features"])
        assert json.loads(file.metadata()["names"]) == npz["names"].tolist()
    table = parquet.read_table(written(image, tmp_path / "f.parquet")).to_pydict()
    assert table["name"] == npz["names"].tolist()
    np.testing.assert_array_equal(np.array(table["features"], np.float32), npz["features"])
    assert npz["features"].shape == (20, 32) and not list(tmp_path.glob(".*"))


def test_names_that_are_not_utf8(image, tmp_path):
    """Of the pictures, their folder and the file of features: in each format the same."""
    odd = tmp_path / os.fsdecode(b"caf\xe9")
    odd.mkdir()
    for path in sorted(image[1].iterdir())[:3]:
        shutil.copy(path, odd / os.fsdecode(os.fsencode(path.stem) + b"\xe9.png"))
    wanted = [rf"{number:02d}\xe9.png" for number in range(3)]
    made = {end: written((image[0], odd), odd / f"f{end}") for end in feature_files.WRITERS}
    assert np.load(made[".npz"])["names"].tolist() == wanted
    table = parquet.read_table(made[".parquet"].open("rb")).to_pydict()
    assert table["name"] == wanted
    data = made[".safetensors"].read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    assert json.loads(header["__metadata__"]["names"]) == wanted
    assert main(["data", "prepare", str(odd), str(tmp_path / "ready")]) == 0
    ready = written((image[0], tmp_path / "ready"), odd / "g.parquet")
    assert sorted(parquet.read_table(ready.open("rb")).to_pydict()["name"]) == wanted
    shutil.move(tmp_path / "ready", odd / "ready")
    assert main(["features", str(image[0]), str(odd / "ready"), "--out", "x.npz"]) == 2


def test_frames_in_three_formats(image, tmp_path, monkeypatch):
    monkeypatch.setattr(features, "MOST", 6)
    npz = np.load(written(image, tmp_path / "f.npz", "--frames"))
    tokens = len(npz["features"]) // 20
    assert npz["offsets"].tolist() == [tokens * i for i in range(21)]
    with safe_open(written(image, tmp_path / "f.safetensors", "--frames"), "numpy") as file:
        np.testing.assert_array_equal(file.get_tensor("offsets"), npz["offsets"])
        np.testing.assert_array_equal(file.get_tensor("features"), npz["features"])
    table = parquet.read_table(written(image, tmp_path / "f.parquet", "--frames")).to_pydict()
    rows = np.array(table["features"], np.float32).reshape(npz["features"].shape)
    np.testing.assert_array_equal(rows, npz["features"])


def test_it_goes_on_where_it_was_interrupted(image, tmp_path, monkeypatch):
    whole = np.load(written(image, tmp_path / "whole.npz"))
    monkeypatch.setattr(features, "MOST", 6)
    encode, seen = Encoder.features, []

    def interrupted(self, inputs, *args, **more):
        if len(seen) == 12:
            raise KeyboardInterrupt
        seen.extend(inputs)
        return encode(self, inputs, *args, **more)

    monkeypatch.setattr(encoder.Encoder, "features", interrupted)
    words = ["features", str(image[0]), str(image[1]), "--out", str(tmp_path / "f.npz")]
    assert main(words) == 130
    assert not (tmp_path / "f.npz").exists() and (tmp_path / ".f.npz.parts").is_dir()
    seen.clear()
    assert main(words) == 0
    assert len(seen) == 8
    again = np.load(tmp_path / "f.npz")
    for name in ("names", "features"):
        np.testing.assert_array_equal(again[name], whole[name])


def test_other_words_begin_anew(tmp_path):
    part = feature_files.Part(["a"], np.zeros((1, 2), np.float32))
    feature_files.Parts(tmp_path / "f.npz", {"layer": "last"}).add(part)
    assert feature_files.Parts(tmp_path / "f.npz", {"layer": "last"}).done == {"a"}
    assert not feature_files.Parts(tmp_path / "f.npz", {"layer": "all"}).done


def test_what_was_prepared(image, tmp_path):
    assert main(["data", "prepare", str(image[1]), str(tmp_path / "shards")]) == 0
    plain = np.load(written(image, tmp_path / "f.npz"))
    ready = np.load(written((image[0], tmp_path / "shards"), tmp_path / "g.npz"))
    order = np.argsort(ready["names"])
    assert ready["names"][order].tolist() == sorted(plain["names"].tolist())
    np.testing.assert_allclose(
        ready["features"][order], plain["features"][np.argsort(plain["names"])], rtol=1e-5
    )
