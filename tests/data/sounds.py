"""Small real recordings to put into files."""

import io

import numpy as np
import soundfile


def tone(samples: int, hertz: float = 440.0, rate: int = 16_000) -> np.ndarray:
    """float32 [s]: a sine of level 0.4 with a slow swell and an offset of 0.05."""
    at = np.arange(samples) / rate
    wave = 0.4 * np.sin(2 * np.pi * hertz * at) * (0.6 + 0.4 * np.sin(2 * np.pi * 3 * at)) + 0.05
    return wave.astype(np.float32)


def encoded(wave: np.ndarray, kind: str, rate: int = 16_000, subtype: str | None = None) -> bytes:
    """`wave` [s] or [s, channel] as a file of `kind`."""
    buffer = io.BytesIO()
    soundfile.write(buffer, wave, rate, format=kind, subtype=subtype)
    return buffer.getvalue()


def wav(wave: np.ndarray, rate: int = 16_000, subtype: str = "PCM_16") -> bytes:
    return encoded(wave, "WAV", rate, subtype)
