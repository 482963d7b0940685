"""Long recordings are read piece by piece, and nothing of them moves."""

import numpy as np
import pytest
import soxr
from sounds import encoded, tone

from d2v_jax.data.audio import opening, waves


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_pieces_are_the_whole(monkeypatch, rate: int, channels: int):
    wave = np.stack([tone(3 * rate + 7, 300 + 100 * c, rate) for c in range(channels)], 1)
    data = encoded(wave, "WAV", rate, "FLOAT")
    monkeypatch.setattr(waves, "PIECE", 1 << 12)
    whole_s = wave.mean(axis=1) if channels == 2 else wave[:, 0]
    wanted = soxr.resample(whole_s, rate, waves.RATE) if rate != waves.RATE else whole_s
    np.testing.assert_array_equal(waves.decode(data), wanted)


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
@pytest.mark.parametrize("level", [0.5, 3.0])
def test_sums_of_pieces(monkeypatch, dtype, level: float):
    wave_s = tone(50_000) * level
    if dtype == np.int16:
        wave_s = (wave_s * 8_000).astype(np.int16)
    wanted, standard = waves.utterance(wave_s), waves.standardise(wave_s)
    monkeypatch.setattr(waves, "PIECE", 1 << 12)
    monkeypatch.setattr(waves, "LONG", 1 << 12)
    found = waves.utterance(wave_s)
    np.testing.assert_array_equal(found.samples, wanted.samples)
    np.testing.assert_allclose(found[1:], wanted[1:], rtol=1e-6)
    np.testing.assert_allclose(waves.standardise(wave_s), standard, rtol=0, atol=1e-6)
    assert len(waves.standardise(wave_s, 700)) == 700


def test_the_run_says_what_is_slow(audio, tmp_path, monkeypatch, caplog):
    (tmp_path / "a.wav").write_bytes(encoded(tone(50_000), "WAV"))
    monkeypatch.setattr(opening, "LONG", 49_999)
    assert len(audio(tmp_path).records()) == 1
    assert "1 of 1 recordings" in caplog.text and "d2v data prepare" in caplog.text
