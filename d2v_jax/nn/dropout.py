"""What training leaves out at random. Each row draws from its own key; no keys, no noise."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from d2v_jax.common import rng
from d2v_jax.common.rng import Keys

QUARTERS = 4  # of what the generator makes at a time: two words of 32 bits
KEPT = "kept"  # the name of what was drawn, for policies of checkpoints


def dropout(x: jax.Array, rate: float, keys: Keys | None) -> jax.Array:
    """Zeroes entries of x [n, first, ...] with probability `rate`, the others divided by 1 - rate.

    Four entries, a quarter of the first side apart, share what the generator makes at a time,
    whose price is most of dropout's: rates are rounded to 1 / 65536.
    """
    if keys is None or rate == 0:
        return x
    first, *sides = x.shape[1:]

    def kept(key: jax.Array) -> jax.Array:
        quarters = _kept_quarters(key, (-(-first // QUARTERS), *sides), rate)
        # Else XLA:TPU makes all words again for each quarter that it joins to the others.
        return jnp.concatenate(jax.lax.optimization_barrier(quarters))[:first]

    every = checkpoint_name(jax.vmap(kept)(keys.each_n), KEPT)
    return jnp.where(every, x * _scale(rate), 0)


def draw_quarters(shape: Sequence[int], rate: float, keys: Keys | None) -> jax.Array | None:
    """[n, quarters, ...], at most four -> uint8 [n, ...] whose bit q tells what quarter q keeps.

    Entry by entry what `dropout` keeps of [n, quarters * first, ...], where its quarters are as
    long, in a quarter of the memory and with nothing to join. None where all is kept.
    """
    if keys is None or rate == 0:
        return None
    _, quarters, *sides = shape

    def kept(key: jax.Array) -> jax.Array:
        every = _kept_quarters(key, sides, rate)[:quarters]
        return sum(one.astype(jnp.uint8) << bit for bit, one in enumerate(every))

    return checkpoint_name(jax.lax.optimization_barrier(jax.vmap(kept)(keys.each_n)), KEPT)


def drop_quarters(x: jax.Array, bits: jax.Array | None, rate: float) -> jax.Array:
    """What those bits keep of x [n, quarters, ...], divided by 1 - rate."""
    if bits is None:
        return x
    own = jnp.uint8(1) << jnp.arange(x.shape[1], dtype=jnp.uint8)
    own = own.reshape(-1, *[1] * (x.ndim - 2))
    return jnp.where(bits[:, None] & own != 0, x * _scale(rate), 0)


def _kept_quarters(key: jax.Array, shape: Sequence[int], rate: float) -> list[jax.Array]:
    a, b = rng.words(key, shape)
    below = _below(rate)
    return [part < below for part in (a & 0xFFFF, a >> 16, b & 0xFFFF, b >> 16)]


def _below(rate: float) -> int:
    return max(round((1 - rate) * 2**16), 1)


def _scale(rate: float) -> float:
    return 2**16 / _below(rate)


def drop_path(x: jax.Array, rate: float | jax.Array, keys: Keys | None) -> jax.Array:
    """The same for whole rows of x [n, ...]; the rate may be an array [] too."""
    if keys is None or (not isinstance(rate, jax.Array) and rate == 0):
        return x
    shape = (1,) * (x.ndim - 1)
    kept = jax.vmap(lambda key: jax.random.bernoulli(key, 1 - rate, shape))(keys.each_n)
    return jnp.where(kept, x / (1 - rate), 0)
