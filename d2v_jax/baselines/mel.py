"""Log-mel spectrograms on the device, as targets are made of them."""

import jax
import jax.numpy as jnp
import numpy as np

from d2v_jax.baselines.speech import EXACTLY
from d2v_jax.common import filters

RATE, WINDOW, HOP, FFT = 16_000, 400, 160, 512
FLOOR = 1e-6  # of the energies of a band, for waves of deviation 1
EPS = 1e-5  # of the deviation of a band in time


def log_mel(wave_bs: jax.Array, bands: int) -> jax.Array:
    """[b, t, bands] float32: a frame of 25 ms every 10 ms, none that the wave does not fill."""
    count = (wave_bs.shape[1] - WINDOW) // HOP + 1
    places = np.arange(count)[:, None] * HOP + np.arange(WINDOW)
    frames = wave_bs.astype(jnp.float32)[:, places] * np.hanning(WINDOW + 1)[:-1].astype(np.float32)
    power = jnp.square(jnp.abs(jnp.fft.rfft(frames, FFT)))
    return jnp.log(jnp.dot(power, filters.triangles(bands, FFT, RATE), precision=EXACTLY) + FLOOR)


def stacked(wave_bs: jax.Array, tokens: int, hop: int, bands: int) -> jax.Array:
    """[b, tokens, frames * bands]: the frames of each `hop` samples side by side, time slow.

    Each band has mean 0 and deviation 1 over the example; without it few codes are in use.
    """
    needed = tokens * hop + WINDOW - HOP
    wave_bs = jnp.pad(wave_bs, ((0, 0), (0, max(0, needed - wave_bs.shape[1]))))[:, :needed]
    mel_btm = log_mel(wave_bs, bands)
    centred_btm = mel_btm - mel_btm.mean(1, keepdims=True)
    deviation_b1m = jnp.sqrt(jnp.square(centred_btm).mean(1, keepdims=True))
    normed_btm = centred_btm / (deviation_b1m + EPS)
    return normed_btm.reshape(wave_bs.shape[0], tokens, -1)
