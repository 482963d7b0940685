"""`d2v data bench`: figures of every stage, and the plain loops do what ours does. No times."""

import io
import json

import numpy as np
import pytest
from PIL import Image
from sounds import encoded, tone

from d2v_jax.cli.main import main
from d2v_jax.common.checks import UserError
from d2v_jax.data.audio import waves as sound
from d2v_jax.data.contests.images import plain_picture
from d2v_jax.data.contests.sounds import plain_sound
from d2v_jax.data.image import pictures
from d2v_jax.data.opened import Opened
from d2v_jax.data.records import BadRecord, Record
from d2v_jax.measure import data_bench


@pytest.fixture
def alone(monkeypatch):
    """No worker processes, which take seconds to begin."""
    monkeypatch.setattr(data_bench, "WORKERS", ())


def measured(source, tmp_path, *options: str) -> dict:
    file = tmp_path / "bench.json"
    arguments = [str(source), "--seconds", "0.1", "--json", str(file), *options]
    assert main(["data", "bench", *arguments]) == 0
    found = json.loads(file.read_text())
    assert found["source"] == str(source) and found["record_bytes"] > 0 and found["cpus"] > 0
    for row in found["stages"]:
        assert row["records_per_s"] > 0 and row["mb_per_s"] > 0
        # Both are of the same records, of which some are larger than others.
        ratio = row["mb_per_s"] * 1e6 / row["records_per_s"] / found["record_bytes"]
        assert ratio == pytest.approx(1, rel=0.3)
    for one in found["beside"]:
        assert one["pairs"] >= 5 and min(one["ratio"], one["ours"], one["plain"]) > 0
        assert one["ratio"] == pytest.approx(one["ours"] / one["plain"], rel=0.8)
    return found


NAMES = ["read, random order", "decode + cut, one core", "batches, 0 threads", "batches, 2 threads"]


def test_images(folder, tmp_path, capsys, monkeypatch):
    opened = []
    open_batches = data_bench.open_batches
    monkeypatch.setattr(
        data_bench,
        "open_batches",
        lambda cfg, **rest: opened.append(cfg) or open_batches(cfg, **rest),
    )
    (folder / "cats" / "00.jpg").write_bytes(b"none")
    small = ["--config.data.image_size=112", "--config.data.threads=2"]
    found = measured(folder, tmp_path, *small)
    wanted = [*NAMES, "batches, 1 worker process", "batches, 2 worker processes"]
    assert [row["stage"] for row in found["stages"]] == wanted
    assert [row["workers"] for row in found["stages"]] == [0, 0, 0, 0, 1, 2]
    assert [row["threads"] for row in found["stages"]] == [0, 0, 0, 2, 1, 1]
    assert [(cfg.threads, cfg.workers) for cfg in opened] == [(0, 0), (2, 0), (1, 1), (1, 2)]
    whats = [one["what"] for one in found["beside"]]
    assert whats == ["data.resize='exact'", "data.resize='fast'"]
    exact, fast = (one["difference"] for one in found["beside"])
    assert exact < 0.5 and exact < fast < 10
    assert list(found["skipped"]) == ["cats/00.jpg"] and found["data"]["image_size"] == 112
    said = capsys.readouterr().out
    assert "20 records of" in said and "only 20 records" in said
    assert "1 unreadable records left out, such as cats/00.jpg: not a picture" in said
    assert "times as fast" in said and "batches, 2 worker processes (" in said


def test_grey_pixels_without_files(alone, config, tmp_path):
    cfg = config("builtin:photos", channels=1, jitter=0.4)
    said = data_bench.bench(cfg, 0.1, tmp_path / "x" / "bench.json")
    found = json.loads((tmp_path / "x" / "bench.json").read_text())
    assert len(found["stages"]) == 4 and len(found["beside"]) == 2
    assert found["beside"][0]["difference"] < 0.5
    assert "65,536 records" in said and "only" not in said


def test_sounds(sounds, tmp_path, alone, capsys):
    (sounds / "ann" / "00.wav").write_bytes(b"none")
    short = ["--config.data.samples=4000", "--config.data.min_samples=1"]
    found = measured(sounds, tmp_path, *short, "--config.data.threads=2")
    names = [row["stage"] for row in found["stages"]]
    assert names == [NAMES[0], "decode + cut, first time, one core", *NAMES[1:]]
    for row in found["stages"]:
        assert row["hours_of_sound_per_s"] == pytest.approx(
            row["records_per_s"] * 0.25 / 3600, rel=0.01
        )
    assert [one["what"].split(",")[0] for one in found["beside"]] == ["crops", "crops"]
    assert "hours of sound" in capsys.readouterr().out


def test_prepared_sounds_are_known_at_once(sounds, tmp_path, alone):
    assert main(["data", "prepare", str(sounds), str(tmp_path / "out")]) == 0
    short = ["--config.data.samples=4000", "--config.data.min_samples=1"]
    found = measured(tmp_path / "out", tmp_path, *short)
    assert [row["stage"] for row in found["stages"]][:2] == NAMES[:2]
    assert len(found["beside"]) == 1


def test_sounds_without_files(tmp_path, alone, capsys):
    found = measured(
        "builtin:tones", tmp_path, "--config.data.samples=16000", "--config.data.min_samples=1"
    )
    assert found["beside"] == [] and "no plain loop" in capsys.readouterr().out


@pytest.mark.parametrize("prepared", [False, True])
def test_texts(texts, tmp_path, alone, capsys, prepared):
    source = texts
    if prepared:
        source = tmp_path / "out"
        options = ["--config.data.tokenizer=bytes"]
        assert main(["data", "prepare", str(texts), str(source), *options]) == 0
    found = measured(source, tmp_path, "--config.data.tokens=17", "--config.data.threads=2")
    assert [row["stage"] for row in found["stages"]] == NAMES
    for row, tokens in zip(found["stages"], (16, 17, 17, 17)):  # `<s>` comes in front
        assert row["tokens_per_s"] == pytest.approx(row["records_per_s"] * tokens, rel=0.01)
    assert "tokenising the same text" in capsys.readouterr().out
    if prepared:
        texts.rename(tmp_path / "elsewhere")
        measured(source, tmp_path, "--config.data.tokens=17")
        assert "tokenising other text (python-docs)" in capsys.readouterr().out


def test_the_plain_picture_is_of_the_same_place(folder, config):
    cfg = config(folder, image_size=24, flip=0.0)
    data = (folder / "cats" / "03.jpg").read_bytes()
    for seed in range(5):
        mine = pictures.augment(Record(data, None, ""), cfg, np.random.default_rng(seed))
        plain = plain_picture(data, cfg, np.random.default_rng(seed))
        assert mine.shape == plain.shape and np.abs(mine.astype(int) - plain).max() <= 2
    pixels = np.asarray(Image.open(io.BytesIO(data)))
    assert np.array_equal(plain, plain_picture(pixels, cfg, np.random.default_rng(4)))


def test_the_plain_sound_is_of_the_same_place():
    wave_s = tone(9_000)
    data = encoded(wave_s, "FLAC", subtype="PCM_16")
    mine = sound.random_crop(Record(data, None, ""), np.random.default_rng(5), 4_000)["inputs"]
    plain = plain_sound(data, 4_000, np.random.default_rng(5))
    assert np.allclose(mine / 32_768, plain)
    stereo = encoded(np.stack([tone(24_000, rate=48_000)] * 2, 1), "WAV", 48_000)
    plain = plain_sound(stereo, 8_000, np.random.default_rng(5))
    assert np.median(np.abs(plain - tone(8_000))) < 1e-3


def test_nothing_readable(config, folder, monkeypatch):
    monkeypatch.setattr(data_bench, "BAD_IN_A_ROW", 30)
    for path in folder.glob("*/*.jpg"):
        path.write_bytes(b"none")
    with pytest.raises(UserError, match=r"30 records in a row are unreadable, the last: \w+/\d+"):
        data_bench.bench(config(folder), 0.1, None)


def test_the_bad_are_skipped_in_every_stage(config, folder):
    """Reading may fail too, not only decoding."""
    data = config(folder).open()

    class Failing:
        def read(self, index: int) -> Record:
            if index % 2:
                raise BadRecord("gone", None)
            return data.source.read(index)

        def __len__(self) -> int:
            return 20

    skipped: dict[str, str] = {}
    other = Opened(Failing(), (20,), data.buckets, data.cut, ())
    kept = data_bench._kept(other, skipped)
    assert len(kept) == 10 and len(skipped) == 10 and skipped["record 3"] == "gone"
