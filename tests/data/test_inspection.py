"""What d2v data inspect says of small sources whose every number is known."""

import io
import json

import numpy as np
import pytest
from pictures import encoded as picture
from pictures import jpeg
from PIL import Image
from sounds import encoded, tone, wav

from d2v_jax import cli
from d2v_jax.common.checks import UserError
from d2v_jax.data import charts
from d2v_jax.data.findings import chosen
from d2v_jax.data.inspection import inspect


def read(out):
    return json.loads((out / "inspect.json").read_text())[0]


def test_pictures(config, tmp_path, capsys):
    root = tmp_path / "photos"
    for name, data in {
        "a/0.jpg": jpeg(0), "a/1.jpg": jpeg(1), "b/same.jpg": jpeg(1),
        "b/broken.jpg": jpeg(2)[:300],
        "b/grey.png": picture(Image.new("L", (10, 30), 255), "png"),
        "c/black.png": picture(Image.new("RGB", (20, 20)), "png"),
    }.items():  # fmt: skip
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    out = tmp_path / "out"
    assert cli.main(["data", "inspect", str(root), "--out", str(out)]) == 0
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
    for part in ("JPEG 3, PNG 2", "3 classes", "b/broken.jpg: ", "b/same.jpg: a/1.jpg",
                 "10 / 60 / 60"):  # fmt: skip
        assert part in said, part
    counts = found["histograms"]["shorter side, pixels"]["counts"]
    assert sum(counts) == 5 and counts[0] == 1 and counts[-1] == 3
    for name in ("histograms.png", "pictures.png"):
        assert Image.open(out / name).size[0] > 100
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
    fields = ["--config.data.samples=4000", "--config.data.min_samples=2000",
              "--config.data.buckets=()"]  # fmt: skip
    assert cli.main(["data", "inspect", str(sounds), "--out", str(out), *fields]) == 0
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
    assert cli.main(["data", "inspect", str(texts), "--out", str(out), *fields]) == 0
    said = capsys.readouterr().out
    found = read(out)
    assert found["documents"] == 5 and found["lines"] == 8 and found["repeated_lines"] == 3
    lines = ["One fine day.", "It rained.", "Another document, whose second line follows.",
             "Here.", "Grüße, wörld", "Here.", "It rained.", "Grüße, wörld"]  # fmt: skip
    assert found["characters"] == sum(map(len, lines))
    assert found["tokens"] == sum(len(line.encode()) + 1 for line in lines) + 5
    assert found["duplicates"] == {"d.txt:4": "b/c.txt:1"} and list(found["bad"]) == ["bad.txt"]
    assert found["unknown"] == 0 and found["blocks_contiguous"] == found["tokens"] // 15
    assert "8, 3 of them occurred before" in said and "a.txt:5 (51)" in said
    # What is prepared tells no lines, but the same tokens.
    ready = tmp_path / "ready"
    bytes_ = "--config.data.tokenizer=bytes"
    assert cli.main(["data", "prepare", str(texts), str(ready), bytes_, *fields]) == 0
    assert cli.main(["data", "inspect", str(ready), "--out", str(out), *fields]) == 0
    again = read(out)
    same = ("documents", "tokens", "unknown", "blocks_contiguous", "blocks_documents",
            "histograms", "fingerprint")  # fmt: skip
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
    assert cli.main(["data", "inspect", str(folder), "--sample", "0"]) == 2
    assert "--sample 0: must be positive" in capsys.readouterr().err


def test_bars():
    assert charts.counted(np.array([])) == {"edges": [], "counts": []}
    assert charts.bars(np.array([3.0, 3.0])) == ["          3 - 3                 2  " + "#" * 40]
    bins = charts.counted(np.array([1.0, 10, 1000]))
    assert sum(bins["counts"]) == 3 and bins["edges"][0] == 1 and bins["edges"][-1] == 1000
    ratios = np.diff(np.log(bins["edges"]))
    np.testing.assert_allclose(ratios, ratios[0], rtol=1e-3)
