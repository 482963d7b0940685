"""Named random streams: every draw is a pure function of (seed, name, step, example, view)."""

import math
import zlib
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from d2v_jax.common import settings

ROTATIONS = (13, 15, 26, 6), (17, 29, 16, 24)  # of Threefry-2x32, in bits


def key(seed: jax.Array | int) -> jax.Array:
    """A key of the one generator that all our draws are made with, whatever JAX's default is."""
    return jax.random.key(seed, impl=settings.FIXED["jax_default_prng_impl"])


def stream(seed: int, name: str, step: jax.Array | int = 0) -> jax.Array:
    """Returns the key of stream `name` at `step`; streams of different names are independent."""
    return jax.random.fold_in(jax.random.fold_in(key(seed), zlib.crc32(name.encode())), step)


def words(key: jax.Array, shape: Sequence[int]) -> tuple[jax.Array, jax.Array]:
    """Two arrays of `shape` of 32 random bits each.

    Threefry-2x32 (Salmon et al. 2011) of the places' numbers, which makes two words at a time;
    `jax.random.bits` folds them into one, and its rounds are a loop on CPUs, seven times slower.
    """
    count = jnp.zeros(shape, jnp.uint32)
    for axis in range(len(shape)):
        below = jnp.uint32(math.prod(shape[axis + 1 :]))
        count += jax.lax.broadcasted_iota(jnp.uint32, shape, axis) * below
    first, second = jax.random.key_data(key)
    keys = first, second, first ^ second ^ jnp.uint32(0x1BD11BDA)
    a, b = jnp.full(shape, first), count + second
    for turn in range(5):
        for by in ROTATIONS[turn % 2]:
            a = a + b
            b = a ^ ((b << by) | (b >> (32 - by)))
        a, b = a + keys[(turn + 1) % 3], b + keys[(turn + 2) % 3] + jnp.uint32(turn + 1)
    return a, b


def normal(key: jax.Array, shape: Sequence[int]) -> jax.Array:
    """Numbers of mean 0 and variance 1, float32."""
    first, *sides = shape
    both = words(key, (-(-first // 2), *sides))
    # Else XLA:TPU makes all words again for each half that it joins to the other.
    bits = jnp.concatenate(jax.lax.optimization_barrier(both))[:first]
    within_one = ((bits >> 9).astype(jnp.float32) + 0.5) * 2**-22 - 1
    return math.sqrt(2) * jax.lax.erf_inv(within_one)


class Keys(NamedTuple):
    """What the random draws of one place in the program follow from.

    `all` serves draws for a batch as a whole. `each_n` holds a key per row, which depends on
    the row's example and view alone, never on its neighbours in the batch.
    """

    all: jax.Array
    each_n: jax.Array

    def named(self, name: str) -> "Keys":
        """Independent keys for the place `name`."""
        number = zlib.crc32(name.encode())
        fold = lambda one: jax.random.fold_in(one, number)
        return Keys(fold(self.all), jax.vmap(fold)(self.each_n))

    def views(self, count: int) -> "Keys":
        """Keys for `count` views of each row, those of one row side by side."""
        numbers = jnp.arange(count, dtype=jnp.uint32)
        fold = jax.vmap(jax.random.fold_in, in_axes=(None, 0))
        return Keys(self.all, jax.vmap(fold, in_axes=(0, None))(self.each_n, numbers).reshape(-1))


def keys(of_all: jax.Array, example_id_b: jax.Array) -> Keys:
    """The keys of a batch, one per example id."""
    fold = lambda example_id: jax.random.fold_in(of_all, example_id)
    return Keys(of_all, jax.vmap(fold)(example_id_b.astype(jnp.uint32)))
