"""A number for each array of a checkpoint, by which what was read is known for what was saved.

Neither Orbax nor TensorStore keep checksums of an array's numbers: a bit that flips on a disk is a
weight that differs. The digest of an array is the sum, modulo 2**32, of its mixed elements and
their places, so that it is the same however the array is split among devices or processes. Any
change of a single element changes it.
"""

import functools
import json
import math
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

ITEM = "digests"
PLACE, MIX = 0x9E3779B1, 0x85EBCA6B  # odd, so that nothing is lost
PIECE = 1 << 16  # elements that NumPy mixes at a time


def of(tree: Any) -> dict[str, int]:
    """The digest of each array of a tree by its path; arrays of JAX where they lie, or of NumPy."""
    paths, _ = jax.tree_util.tree_flatten_with_path(tree)
    # One by one: hundreds of small programs at once hold all threads of XLA:CPU, each of which
    # waits for another process, and nobody ends.
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): int(
            _of_numpy(leaf) if isinstance(leaf, np.ndarray) else _of_jax(leaf)
        )
        for path, leaf in paths
    }


def require_as_saved(checkpoint: pathlib.Path, item: str, tree: Any) -> None:
    """Raises `ValueError` where an array of an item has other numbers than those that were saved.

    Checkpoints from before there were digests are taken as they are.
    """
    place = checkpoint / ITEM
    if not place.is_dir():
        return
    try:
        saved = dict(json.loads((place / "metadata").read_text())[item])
    except (OSError, ValueError, TypeError, LookupError):
        raise ValueError(f"the digests of {item} are damaged or missing") from None
    changed = [path for path, digest in of(tree).items() if saved.get(path) != digest]
    if changed:
        more = f" and {len(changed) - 1} more" if changed[1:] else ""
        raise ValueError(f"other numbers than were saved in {item}, in {changed[0]}{more}")


@jax.jit
def _of_jax(x: jax.Array) -> jax.Array:
    if x.dtype == bool:
        x = x.astype(jnp.uint8)
    width = min(x.dtype.itemsize, 4)
    words = jax.lax.bitcast_convert_type(x, jnp.dtype(f"uint{8 * width}")).astype(jnp.uint32)
    strides = [math.prod(words.shape[axis + 1 :]) for axis in range(words.ndim)]
    places = [
        jax.lax.broadcasted_iota(jnp.uint32, words.shape, axis) * jnp.uint32(stride % 2**32)
        for axis, stride in enumerate(strides)
    ]
    place = functools.reduce(jnp.add, places, jnp.uint32(0))
    y = words + place * jnp.uint32(PLACE)
    y = (y ^ (y >> 15)) * jnp.uint32(MIX)
    return jnp.sum(y ^ (y >> 13), dtype=jnp.uint32)


def _of_numpy(x: np.ndarray) -> np.uint32:
    """The same, without a device."""
    flat = np.ascontiguousarray(x).reshape(-1)
    flat = flat.view(f"u{min(x.dtype.itemsize, 4)}")
    places = np.arange(PIECE, dtype=np.uint32) * np.uint32(PLACE)
    total = 0
    for start in range(0, len(flat), PIECE):
        piece = flat[start : start + PIECE]
        y = places[: len(piece)] + np.uint32(start * PLACE % 2**32)
        y += piece
        y ^= y >> np.uint32(15)
        y *= np.uint32(MIX)
        y ^= y >> np.uint32(13)
        total += int(y.sum(dtype=np.uint64))
    return np.uint32(total % 2**32)
