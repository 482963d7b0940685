"""Whole recordings and documents by name, for features."""

import logging

import numpy as np
import pytest
from sounds import encoded, tone, wav

from d2v_jax.common.checks import UserError
from d2v_jax.data.audio.inputs import folder_waves
from d2v_jax.data.text.inputs import text_documents


def test_folder_waves(sounds, tmp_path, caplog):
    (sounds / "ann" / "00.wav").write_bytes(b"text")
    (sounds / "z.flac").write_bytes(encoded(tone(4_800, rate=48_000), "FLAC", 48_000))
    with caplog.at_level(logging.WARNING, "d2v"):
        found = {name: (wave_s, length) for name, wave_s, length in folder_waves(sounds)}
    assert len(found) == 12 and "ann/00.wav" not in found
    wave_s, length = found["z.flac"]
    assert wave_s.dtype == np.float32 and len(wave_s) == length == 1600
    for wave_s, _ in found.values():
        assert abs(wave_s.mean()) < 1e-5 and np.isclose(wave_s.std(), 1, rtol=1e-3)
    assert "1 of 13 files" in caplog.text and "ann/00.wav: not a readable" in caplog.text
    with pytest.raises(UserError, match="no such folder"):
        folder_waves(tmp_path / "nowhere")


def test_long_waves_are_standardised_before_they_are_cut(tmp_path):
    (tmp_path / "a.wav").write_bytes(wav(tone(9_000) * np.linspace(0, 1, 9_000)))
    _, whole, _ = next(folder_waves(tmp_path))
    name, start, length = next(folder_waves(tmp_path, max_samples=500))
    assert (name, length) == ("a.wav", 9_000) and np.array_equal(start, whole[:500])


def test_text_documents(texts, tmp_path, caplog):
    found = dict(text_documents(texts, "bytes"))
    assert list(found) == ["a.txt:1", "a.txt:5", "b/c.txt:1"]
    expected = [0, *(4 + b for b in b"One fine day."), 2, *(4 + b for b in b"It rained."), 2]
    assert found["a.txt:1"].dtype == np.int32 and found["a.txt:1"].tolist() == expected
    assert list(dict(text_documents(texts / "b" / "c.txt", "bytes"))) == ["c.txt:1"]
    with caplog.at_level(logging.WARNING, "d2v"):
        given = dict(text_documents(["ab\n c ", " ", "d"], "bytes"))
    assert {name: ids.tolist() for name, ids in given.items()} == {
        "0": [0, 4 + ord("a"), 4 + ord("b"), 2, 4 + ord("c"), 2],
        "2": [0, 4 + ord("d"), 2],
    }
    assert "text 1: it is empty" in caplog.text
    with pytest.raises(UserError, match="no such folder"):
        text_documents(tmp_path / "nowhere", "bytes")
    with pytest.raises(UserError, match="data.tokenizer"):
        text_documents(["x"], "gpt2")
