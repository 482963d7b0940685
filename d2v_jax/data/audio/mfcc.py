"""Mel-frequency cepstra with their deltas, 100 frames a second: what HuBERT clusters first.

As Kaldi computes them at 16 kHz without dither and energy, of waves in [-1, 1].
"""

import functools

import numpy as np

FRAME, STEP, PADDED = 400, 160, 512  # samples
RATE = 100  # frames a second
PIECE = 4096  # frames computed at once
BANDS, KEPT, LIFTER = 23, 13, 22
LOWEST, HIGHEST = 20.0, 8000.0  # Hz
EMPHASIS, FLOOR = 0.97, 1.1920929e-7


def features(wave_s: np.ndarray) -> np.ndarray:
    """[frames, 39] float32: cepstra, their deltas, and the deltas of those.

    Frame j covers samples 160 j to 160 j + 399; a wave shorter than one frame has none.
    """
    cepstra = log_mel(wave_s) @ _cosines()
    first = deltas(cepstra)
    return np.concatenate([cepstra, first, deltas(first)], 1).astype(np.float32)


def log_mel(wave_s: np.ndarray) -> np.ndarray:
    """[frames, 23] float64, the logarithm of the energy in each band."""
    count = max(0, (len(wave_s) - FRAME) // STEP + 1)
    found = np.empty((count, BANDS))
    for first in range(0, count, PIECE):
        frames = np.arange(first, min(first + PIECE, count))
        found[frames] = _log_mel(wave_s[STEP * frames[:, None] + np.arange(FRAME)])
    return found


def _log_mel(frames: np.ndarray) -> np.ndarray:
    frames = np.asarray(frames, np.float64)
    frames -= frames.mean(1, keepdims=True)
    before = np.concatenate([frames[:, :1], frames[:, :-1]], 1)
    window = np.hanning(FRAME) ** 0.85
    spectrum = np.fft.rfft((frames - EMPHASIS * before) * window, PADDED)
    power = np.abs(spectrum[:, :-1]) ** 2
    return np.log(np.maximum(power @ mel_banks().T, FLOOR))


@functools.cache
def mel_banks() -> np.ndarray:
    """[23, 256]: the weight of each bin of the spectrum in each triangular band."""
    mel = lambda hertz: 1127 * np.log(1 + hertz / 700)
    edges = np.linspace(mel(LOWEST), mel(HIGHEST), BANDS + 2)[:, None]
    bins = mel(np.arange(PADDED // 2) * 2 * HIGHEST / PADDED)
    left, middle, right = edges[:-2], edges[1:-1], edges[2:]
    up, down = (bins - left) / (middle - left), (right - bins) / (right - middle)
    return np.maximum(0, np.minimum(up, down))


def deltas(x_tc: np.ndarray) -> np.ndarray:
    """The slope over five frames; the first and the last are repeated beyond the ends."""
    if not len(x_tc):
        return x_tc
    padded = np.pad(x_tc, ((2, 2), (0, 0)), "edge")
    return sum(k * padded[2 + k : 2 + k + len(x_tc)] for k in range(-2, 3)) / 10


def _cosines() -> np.ndarray:
    """[23, 13]: an orthonormal cosine transform, and weights that raise the higher cepstra."""
    order = np.arange(KEPT)
    table = np.cos(np.pi / BANDS * (np.arange(BANDS)[:, None] + 0.5) * order)
    table *= np.sqrt(2 / BANDS)
    table[:, 0] = np.sqrt(1 / BANDS)
    return table * (1 + LIFTER / 2 * np.sin(np.pi * order / LIFTER))
