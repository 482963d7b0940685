"""Batches of random numbers in the form the loader gives them: to measure without reading."""

from typing import NamedTuple

import numpy as np

from d2v_jax.data.config import AudioData, DataConfig, ImageData


class Form(NamedTuple):
    """Shape and kind of one array of a batch."""

    shape: tuple[int, ...]
    dtype: type[np.generic]


def form(cfg: DataConfig, example_shape: tuple[int, ...], size: int) -> dict[str, Form]:
    """What a batch of `size` examples consists of."""
    of = lambda dtype, *sides: Form((size, *sides), dtype)
    ids = {"example_id": of(np.int32)}
    match cfg:
        case ImageData():
            return {"inputs": of(np.uint8, *example_shape), **ids}
        case AudioData():
            floats = {name: of(np.float32) for name in ("offset", "scale")}
            return {"inputs": of(np.int16, *example_shape), **floats, **ids}
    return {"inputs": of(np.int32, *example_shape), **ids}


def batch(
    cfg: DataConfig, example_shape: tuple[int, ...], size: int, vocab: int = 256, seed: int = 0
) -> dict[str, np.ndarray]:
    """Noise: pixels, samples of standard deviation 1 once scaled, ids from 4 to `vocab`."""
    rng = np.random.default_rng(seed)
    forms = form(cfg, example_shape, size)
    arrays = {name: np.zeros(one.shape, one.dtype) for name, one in forms.items()}
    shape = arrays["inputs"].shape
    match cfg:
        case ImageData():
            arrays["inputs"] = rng.integers(0, 256, shape, np.uint8)
        case AudioData():
            arrays["inputs"] = rng.normal(0, 3_000, shape).astype(np.int16)
            arrays["scale"] += 1 / 3_000
        case _:
            arrays["inputs"] = rng.integers(4, vocab, shape, np.int32)
    arrays["example_id"] = np.arange(size, dtype=np.int32)
    return arrays
