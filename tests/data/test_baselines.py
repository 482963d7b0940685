"""What features must beat."""

import numpy as np

from d2v_jax.data.labelled import baselines


def test_log_mel_of_a_tone():
    at = np.arange(16_000) / 16_000
    mel = lambda hertz: 2595 * np.log10(1 + hertz / 700)
    for hertz in (500, 1000, 3000):
        found = baselines.log_mel(np.sin(2 * np.pi * hertz * at).astype(np.float32))
        assert found.shape == (98, 80) and found.dtype == np.float32
        centres = np.arange(1, 81) / 81 * mel(8000)
        assert abs(centres[found.mean(0).argmax()] - mel(hertz)) < mel(8000) / 81
    # Twice the level is four times the power.
    noise = np.random.default_rng(0).normal(size=4_000).astype(np.float32)
    louder = baselines.log_mel(2 * noise) - baselines.log_mel(noise)
    np.testing.assert_allclose(louder, np.log(4), rtol=1e-3)


def test_log_mel_of_a_click_tells_when():
    wave_s = np.zeros(16_000, np.float32)
    wave_s[160 * 40 + 200] = 1  # the centre of frame 40
    assert baselines.log_mel(wave_s).mean(1).argmax() == 40
    assert baselines.log_mel(wave_s[:100]).shape == (1, 80)


def test_token_counts():
    counts = baselines.token_counts([np.array([0, 5, 5, 2]), np.array([3])], 7)
    expected = np.log1p([[1, 0, 1, 0, 0, 2, 0], [0, 0, 0, 1, 0, 0, 0]])
    np.testing.assert_allclose(counts, expected, rtol=1e-6)


def test_pixels():
    found = baselines.pixels(np.full((2, 3, 3, 1), 255, np.uint8))
    assert found.shape == (2, 9) and (found == 1).all()
