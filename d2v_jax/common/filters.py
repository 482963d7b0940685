"""Triangular filters, evenly spaced on O'Shaughnessy's mel scale from 0 to half the rate."""

import numpy as np


def triangles(bands: int, fft: int, rate: int) -> np.ndarray:
    """Weights float32 [fft / 2 + 1, bands] of a power spectrum, between neighbouring centres."""
    mel = lambda hertz: 2595 * np.log10(1 + hertz / 700)
    frequency = mel(np.fft.rfftfreq(fft, 1 / rate))[:, None]
    edges = np.linspace(0, mel(rate / 2), bands + 2)
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    rising, falling = (frequency - low) / (centre - low), (high - frequency) / (high - centre)
    return np.maximum(np.minimum(rising, falling), 0).astype(np.float32)
