"""What training leaves out at random. Each row draws from its own key; no keys, no noise."""

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from d2v_jax.common import rng
from d2v_jax.common.rng import Keys

KEPT = "kept"  # the name of what was drawn, for policies of checkpoints


def dropout(x: jax.Array, rate: float, keys: Keys | None) -> jax.Array:
    """Zeroes entries of x [n, first, ...] with probability `rate`, the others divided by 1 - rate.

    Four entries, a quarter of the first side apart, share what the generator makes at a time,
    whose price is most of dropout's: rates are rounded to 1 / 65536.
    """
    if keys is None or rate == 0:
        return x
    first, *sides = x.shape[1:]
    below = max(round((1 - rate) * 2**16), 1)

    def kept(key: jax.Array) -> jax.Array:
        a, b = rng.words(key, (-(-first // 4), *sides))
        quarters = [part < below for part in (a & 0xFFFF, a >> 16, b & 0xFFFF, b >> 16)]
        # Else XLA:TPU makes all words again for each quarter that it joins to the others.
        return jnp.concatenate(jax.lax.optimization_barrier(quarters))[:first]

    every = checkpoint_name(jax.vmap(kept)(keys.each_n), KEPT)
    return jnp.where(every, x * (2**16 / below), 0)


def drop_path(x: jax.Array, rate: float | jax.Array, keys: Keys | None) -> jax.Array:
    """The same for whole rows of x [n, ...]; the rate may be an array [] too."""
    if keys is None or (not isinstance(rate, jax.Array) and rate == 0):
        return x
    shape = (1,) * (x.ndim - 1)
    kept = jax.vmap(lambda key: jax.random.bernoulli(key, 1 - rate, shape))(keys.each_n)
    return jnp.where(kept, x / (1 - rate), 0)
