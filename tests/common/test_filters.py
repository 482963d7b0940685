"""Filters on the mel scale: where they stand, and that neighbours share every frequency."""

import numpy as np
import pytest

from d2v_jax.common import filters


@pytest.mark.parametrize(("bands", "fft", "rate"), [(80, 8192, 16_000), (23, 4096, 8_000)])
def test_triangles(bands, fft, rate):
    found_fb = filters.triangles(bands, fft, rate)
    assert found_fb.shape == (fft // 2 + 1, bands) and found_fb.dtype == np.float32
    hertz = np.arange(fft // 2 + 1) * rate / fft
    top = 2595 * np.log10(1 + rate / 2 / 700)
    centres = 700 * (10 ** (np.arange(1, bands + 1) * top / (bands + 1) / 2595) - 1)
    # To the distance of two frequencies of the spectrum.
    assert np.abs(hertz[found_fb.argmax(0)] - centres).max() <= rate / fft
    between = (hertz >= centres[0]) & (hertz <= centres[-1])
    np.testing.assert_allclose(found_fb.sum(1)[between], 1, rtol=1e-5)
    assert (found_fb[0] == 0).all() and (found_fb[-1] == 0).all()
