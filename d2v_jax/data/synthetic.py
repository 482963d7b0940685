"""For callers that do not ask the record yet: batches of random numbers."""

import types

import numpy as np

from d2v_jax.data.modality import Data
from d2v_jax.data.opened import Form


def form(cfg: Data, example_shape: tuple[int, ...], size: int) -> dict[str, Form]:
    """What a batch of `size` examples consists of."""
    return cfg.form(example_shape, size)


def batch(
    cfg: Data, example_shape: tuple[int, ...], size: int, vocab: int = 256, seed: int = 0
) -> dict[str, np.ndarray]:
    """Noise: pixels, samples of standard deviation 1 once scaled, ids from 4 to `vocab`."""
    return cfg.noise(example_shape, size, types.SimpleNamespace(mask_id=vocab), seed)
