"""What d2v data inspect says of small sources whose every number is known."""

import io
import json
import os

import numpy as np
import pytest
from pictures import encoded as picture
from pictures import jpeg
from PIL import Image
from sounds import encoded, tone, wav

from d2v_jax.cli import main
from d2v_jax.common.checks import UserError
from d2v_jax.data.image import pictures
from d2v_jax.data.inspect import charts, texts
from d2v_jax.data.inspect.findings import chosen
from d2v_jax.data.inspect.inspection import inspect
from d2v_jax.data.text.documents import Document


def read(out):
    return json.loads((out / "inspect.json").read_text())[0]


def read_of(look, cfg, out, sample=None):
    look(cfg, out, sample)
    return read(out)


def test_pictures(config, tmp_path, capsys):
    root = tmp_path / "photos"
    for name, data in {
        "a/0.jpg": jpeg(0),
        "a/1.jpg": jpeg(1),
        "b/same.jpg": jpeg(1),
        "b/broken.jpg": jpeg(2)[:300],
        "b/grey.png": picture(Image.new("L", (10, 30), 255), "png"),
        "c/black.png": picture(Image.new("RGB", (20, 20)), "png"),
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    out = tmp_path / "out"
    assert main.main(["data", "inspect", str(root), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    found = read(out)
    assert found["records"] == found["looked_at"] == 6
    assert found["formats"] == {"JPEG": 3, "PNG": 2} and found["modes"] == {"RGB": 4, "L": 1}
    assert list(found["bad"]) == ["b/broken.jpg"]
    assert found["duplicates"] == {"b/same.jpg": "a/1.jpg"}
    assert found["classes"] == {"a": 2, "b": 2, "c": 1} and found["small"] == 5
    pictures = [np.asarray(Image.open(io.BytesIO(jpeg(n)))) / 255 for n in (0, 1, 1)]
    means = [p.mean((0, 1)) for p in pictures] + [np.ones(3), np.zeros(3)]
    np.testing.assert_allclose(found["mean"], np.mean(means, 0), atol=1e-6)
    squares = [(p**2).mean((0, 1)) for p in pictures] + [np.ones(3), np.zeros(3)]
    std = np.sqrt(np.mean(squares, 0) - np.mean(means, 0) ** 2)
    np.testing.assert_allclose(found["std"], std, atol=1e-6)
    for part in (
        "JPEG 3, PNG 2",
        "3 classes",
        "b/broken.jpg: ",
        "b/same.jpg: a/1.jpg",
        "10 / 60 / 60",
    ):
        assert part in said, part
    counts = found["histograms"]["shorter side, pixels"]["counts"]
    assert sum(counts) == 5 and counts[0] == 1 and counts[-1] == 3
    for name in ("histograms.png", "pictures.png"):
        assert Image.open(out / name).size[0] > 100
    assert found["readable"] == 5
    size = sum(path.stat().st_size for path in root.rglob("*.*")) - 300
    assert found["bytes"] == size and "5 (100.0%), which crops enlarge" in said
    megapixels = found["histograms"]["megapixels"]
    assert sum(megapixels["counts"]) == 5 and megapixels["edges"][-1] == 60 * 40 / 1e6
    grey = read_of(inspect, config(root, channels=1), out)
    assert len(grey["mean"]) == len(grey["std"]) == 1 and list(grey["bad"]) == ["b/broken.jpg"]
    assert "6" in inspect(config(root), None, None)


def test_recordings(audio, sounds, tmp_path, capsys):
    (sounds / "ann" / "broken.flac").write_bytes(encoded(tone(9_000), "FLAC")[:900])
    (sounds / "ann" / "copy.wav").write_bytes((sounds / "ann" / "00.wav").read_bytes())
    (sounds / "bob" / "long.ogg").write_bytes(
        encoded(np.stack([tone(44_100 * 2, rate=44_100)] * 2, 1), "OGG", 44_100)
    )
    (sounds / "bob" / "short.wav").write_bytes(wav(tone(1_000)))
    (sounds / "bob" / "silent.wav").write_bytes(wav(np.zeros(16_000, np.float32)))
    (sounds / "bob" / "loud.wav").write_bytes(wav(np.ones(16_000, np.float32)))
    out = tmp_path / "out"
    fields = [
        "--config.data.samples=4000",
        "--config.data.min_samples=2000",
        "--config.data.buckets=()",
    ]
    assert main.main(["data", "inspect", str(sounds), "--out", str(out), *fields]) == 0
    said = capsys.readouterr().out
    found = read(out)
    assert found["records"] == 18
    assert found["hours"] == pytest.approx((13 * 0.5 + 2 + 1 / 16 + 1 + 1) / 3600, rel=1e-4)
    assert found["sample_rates"] == {"16000": 16, "44100": 1}
    assert found["channels"] == {"1": 16, "2": 1} and found["formats"]["OGG VORBIS"] == 1
    assert found["silent"] == ["bob/silent.wav"] and found["full_scale"] == 1
    assert found["bad"].keys() == {"ann/broken.flac", "bob/short.wav"}
    assert "0.06 s, shorter than 0.25 s" in found["bad"]["bob/short.wav"]
    assert found["duplicates"] == {"ann/copy.wav": "ann/00.wav"}
    assert found["mean"] == pytest.approx(
        (13 * 8_000 * 0.05 + 33_000 * 0.05 + 16_000) / (13 * 8_000 + 33_000 + 32_000), rel=0.02
    )
    for part in ("16000 16, 44100 1", "1 below -60 dB: bob/silent.wav", "ann/broken.flac: "):
        assert part in said, part
    assert sum(found["histograms"]["length, seconds"]["counts"]) == 17
    for name in ("histograms.png", "waves.png"):
        assert Image.open(out / name).size[0] > 100


def test_texts(text, texts, tmp_path, capsys):
    (texts / "d.txt").write_text("Here.\nIt rained.\n\nGrüße, wörld\n")
    (texts / "bad.txt").write_bytes(b"caf\xe9")
    out = tmp_path / "out"
    fields = ["--config.data.tokens=16", "--config.data.max_bad_share=0.5"]
    assert main.main(["data", "inspect", str(texts), "--out", str(out), *fields]) == 0
    said = capsys.readouterr().out
    found = read(out)
    assert found["documents"] == 5 and found["lines"] == 8 and found["repeated_lines"] == 3
    lines = [
        "One fine day.",
        "It rained.",
        "Another document, whose second line follows.",
        "Here.",
        "Grüße, wörld",
        "Here.",
        "It rained.",
        "Grüße, wörld",
    ]
    assert found["characters"] == sum(map(len, lines))
    assert found["tokens"] == sum(len(line.encode()) + 1 for line in lines) + 5
    assert found["duplicates"] == {"d.txt:4": "b/c.txt:1"} and list(found["bad"]) == ["bad.txt"]
    assert found["unknown"] == 0 and found["blocks_contiguous"] == found["tokens"] // 15
    assert "8, 3 of them occurred before" in said and "a.txt:5 (51)" in said
    # What is prepared tells no lines, but the same tokens.
    ready = tmp_path / "ready"
    bytes_ = "--config.data.tokenizer=bytes"
    assert main.main(["data", "prepare", str(texts), str(ready), bytes_, *fields]) == 0
    assert main.main(["data", "inspect", str(ready), "--out", str(out), *fields]) == 0
    again = read(out)
    same = (
        "documents",
        "tokens",
        "unknown",
        "blocks_contiguous",
        "blocks_documents",
        "histograms",
        "fingerprint",
    )
    assert all(again[name] == found[name] for name in same) and "lines" not in again


def test_a_sample_and_several_sources(config, folder, tmp_path, capsys):
    said = inspect(config(f"{folder} + {folder}/cats"), tmp_path / "out", 5)
    assert "5 of 20" in said and "5 of 10" in said
    both = json.loads((tmp_path / "out" / "inspect.json").read_text())
    assert [one["looked_at"] for one in both] == [5, 5] and (
        tmp_path / "out" / "1_pictures.png"
    ).is_file()
    assert chosen(10, 3) == [0, 3, 6] and chosen(3, 5) == [0, 1, 2]
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file, not a folder"):
        inspect(config(folder), tmp_path / "file", None)
    assert main.main(["data", "inspect", str(folder), "--sample", "0"]) == 2
    assert "--sample 0: must be positive" in capsys.readouterr().err


def test_bars():
    assert charts.counted(np.array([])) == {"edges": [], "counts": []}
    assert charts.bars(np.array([3.0, 3.0])) == ["          3 - 3                 2  " + "#" * 40]
    bins = charts.counted(np.array([1.0, 10, 1000]))
    assert sum(bins["counts"]) == 3 and bins["edges"][0] == 1 and bins["edges"][-1] == 1000
    ratios = np.diff(np.log(bins["edges"]))
    np.testing.assert_allclose(ratios, ratios[0], rtol=1e-3)


def test_levels_of_recordings(audio, tmp_path):
    waves = {
        "a.wav": [0, 16_384] * 4_000,
        "b.wav": [32_767, -32_768, 0, 0] * 3_000,
        "c.wav": [-16_384] * 5_000,
    }
    waves = {name: np.array(wave_s, np.int16) for name, wave_s in waves.items()}
    (tmp_path / "in").mkdir()
    for name, wave_s in waves.items():
        (tmp_path / "in" / name).write_bytes(wav(wave_s))
    found = read_of(inspect, audio(tmp_path / "in"), tmp_path / "out")
    whole_s = np.concatenate(list(waves.values())) / 32_768
    assert found["mean"] == pytest.approx(whole_s.mean(), rel=1e-9)
    assert found["std"] == pytest.approx(whole_s.std(), rel=1e-9)
    # Of 12,000 samples two in four are as high or as low as they go.
    assert found["full_scale"] == 1 and found["full_scale_share"] == 6_000 / 25_000
    assert found["peak"] == 1 and found["largest_offset"] == 0.5 and found["silent"] == []
    assert found["bytes"] == sum(path.stat().st_size for path in (tmp_path / "in").iterdir())
    assert found["hours"] == 25_000 / 16_000 / 3600
    assert (found["transcripts"], found["readable"]) == (0, 3)


def test_blocks_are_those_of_training(text, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("Here.\n")  # 7 ids with both ends
    for tokens, contiguous in ((8, 1), (9, 0)):
        cfg = text(tmp_path / "in", tokens=tokens)
        found = read_of(inspect, cfg, tmp_path / "out")
        assert (found["blocks_contiguous"], found["blocks_documents"]) == (contiguous, 1)


def test_a_sample_of_texts(text, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("\n\n".join("x" * n for n in range(1, 11)))
    found = read_of(inspect, text(tmp_path / "in"), tmp_path / "out", 3)
    assert (found["records"], found["looked_at"]) == (10, 3)
    assert found["characters"] == 1 + 4 + 7 and found["bytes"] == 12  # documents 0, 3 and 6


def test_long_documents_come_in_parts():
    parts = [
        Document("one", ("a", "b"), more=True),
        Document("one", ("c",)),
        Document("none", ()),
        Document("two", ("a",), more=True),
        Document("two", ("b", "c"), more=True),
        Document("two", ()),
        Document("three", ("a",)),
    ]

    class Texts:
        documents = staticmethod(lambda: iter(parts))

    filled = list(texts._filled(Texts()))
    assert [part.name for part in filled] == ["one", "one", *["two"] * 3, "three"]
    chosen_ = texts._numbered(filled, [0, 2])
    assert [part.lines for part in chosen_] == [("a", "b"), ("c",), ("a",)]
    noted = texts.Noted(filled)
    assert len(list(noted)) == 6
    assert noted.numbers() == {"lines": 7, "characters": 7, "bytes": 7, "repeated_lines": 4}

    class Corpus:
        names = ("one", "two", "three")

    assert noted.duplicates(Corpus()) == {"two": "one"}


def test_prepared_text_has_its_own_tokenizer(text, texts, tmp_path):
    words = ["--config.data.tokens=16"]
    made = [str(tmp_path / name) for name in ("tokenizer", "ready")]
    assert main.main(["data", "train-tokenizer", str(texts), made[0], "--vocab-size", "262"]) == 0
    words = [f"--config.data.tokenizer={made[0]}", *words]
    assert main.main(["data", "prepare", str(texts), made[1], *words]) == 0
    found = read_of(inspect, text(texts, tokenizer=made[0]), tmp_path / "out")
    assert main.main(["data", "inspect", made[1], "--out", str(tmp_path / "out"), words[-1]]) == 0
    ready = read(tmp_path / "out")
    assert ready["tokens"] == found["tokens"] and ready["fingerprint"] == found["fingerprint"]
    # Ids that cannot be read are named, and the rest is counted.
    (shard,) = (tmp_path / "ready").glob("*.array_record")
    data = bytearray(shard.read_bytes())
    data[120:124] = b"\xff" * 4
    shard.write_bytes(data)
    broken = read_of(inspect, text(made[1]), tmp_path / "out")
    assert list(broken["bad"]) == ["tokens from 0"] and broken["tokens"] == found["tokens"]


def test_names_that_are_no_text(config, audio, tmp_path):
    (tmp_path / "sounds").mkdir()
    (tmp_path / "sounds" / "a$\\frac$.wav").write_bytes(wav(tone(8_000)))
    inspect(audio(tmp_path / "sounds"), tmp_path / "out", None)  # TeX would refuse it
    assert Image.open(tmp_path / "out" / "waves.png").size[0] > 100
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(jpeg(1))
    try:
        (tmp_path / "photos" / os.fsdecode(b"\xe9.jpg")).write_bytes(b"none")
    except OSError:
        pytest.skip("this file system takes only UTF-8")
    said = inspect(config(tmp_path / "photos"), tmp_path / "out", None)
    assert r"\xe9.jpg: not a picture of a format that is read here" in said
    said.encode()


def test_nothing_readable(config, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").write_bytes(b"none")
    found = read_of(inspect, config(tmp_path / "in"), tmp_path / "out")
    assert (found["readable"], found["mean"], list(found["bad"])) == (0, [], ["a.jpg"])


def test_out_is_made_before_anything_is_read(config, folder, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(pictures, "decode", lambda *_: pytest.fail("has read something"))
    with pytest.raises(UserError, match="cannot be made"):
        inspect(config(folder), tmp_path / "file" / "out", None)


def test_interrupted(config, folder, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(charts, "write_whole", stop)
    with pytest.raises(KeyboardInterrupt):
        inspect(config(folder), tmp_path / "out", None)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["inspect.json"]
    monkeypatch.setattr(pictures, "decode", stop)
    with pytest.raises(KeyboardInterrupt):
        inspect(config(folder), tmp_path / "new", None)
    assert not list((tmp_path / "new").iterdir())


def test_whole_numbers_have_whole_bins():
    bins = charts.counted(np.array([34, 34, 36, 39]))
    assert bins == {"edges": [34, 35, 36, 37, 38, 39, 40], "counts": [2, 0, 1, 0, 0, 1]}
    assert len(charts.counted(np.arange(1, 41))["counts"]) <= charts.BINS


def test_no_empty_frames_and_full_scale_is_seen(monkeypatch, tmp_path):
    figures = []
    monkeypatch.setattr(charts, "_save", lambda path, figure: figures.append(figure))
    charts.histograms(tmp_path, "five", {str(n): np.arange(9) for n in range(5)})
    charts.waves(tmp_path, {"loud": np.full(16_000, 32_767, np.int16)})
    assert [axis.get_visible() for axis in figures[0].axes] == [True] * 5 + [False]
    assert figures[1].axes[0].get_ylim()[1] > 1
