"""What features must beat: numbers that nobody trained, straight from the input."""

from collections.abc import Sequence

import numpy as np
from scipy import fft

from d2v_jax.common import filters
from d2v_jax.data.audio.sound_files import RATE

WINDOW, HOP = RATE * 25 // 1000, RATE * 10 // 1000  # samples
FFT = 512
BANDS = 80
FLOOR = 1e-6  # of a band's power, of standardised waves


def pixels(images_byxc: np.ndarray) -> np.ndarray:
    """uint8 [b, y, x, c] -> float32 [b, y * x * c] from 0 to 1."""
    return images_byxc.reshape(len(images_byxc), -1).astype(np.float32) / 255


def log_mel(wave_s: np.ndarray) -> np.ndarray:
    """The usual log-mel spectrogram [t, 80], float32; frame i is centred at sample 160 i + 200.

    Hann windows of 25 ms every 10 ms, power spectrum, 80 triangular bands evenly spaced on
    O'Shaughnessy's mel scale from 0 to 8 kHz, natural logarithm. A shorter wave is filled up
    with zeros to one window.
    """
    wave_s = np.pad(wave_s, (0, max(0, WINDOW - len(wave_s))))
    frames_ts = np.lib.stride_tricks.sliding_window_view(wave_s, WINDOW)[::HOP]
    spectrum = fft.rfft(frames_ts * np.hanning(WINDOW).astype(np.float32), FFT)
    power = np.abs(spectrum) ** 2 @ filters.triangles(BANDS, FFT, RATE)
    return np.log(power + FLOOR).astype(np.float32)


def token_counts(texts: Sequence[np.ndarray], vocab_size: int) -> np.ndarray:
    """ids [t] each -> log(1 + how often each id occurs) [b, vocab_size], float32."""
    counts = np.stack([np.bincount(ids_t, minlength=vocab_size) for ids_t in texts])
    return np.log1p(counts).astype(np.float32)
