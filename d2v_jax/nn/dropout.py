"""What training leaves out at random. Each row draws from its own key; no keys, no noise."""

import jax
import jax.numpy as jnp

from d2v_jax.common.rng import Keys


def dropout(x: jax.Array, rate: float, keys: Keys | None) -> jax.Array:
    """Zeroes entries of x [n, ...] with probability `rate`, the others divided by 1 - rate."""
    return _drop(x, rate, keys, x.shape[1:])


def drop_path(x: jax.Array, rate: float | jax.Array, keys: Keys | None) -> jax.Array:
    """The same for whole rows of x [n, ...]; the rate may be an array [] too."""
    return _drop(x, rate, keys, (1,) * (x.ndim - 1))


def _drop(
    x: jax.Array, rate: float | jax.Array, keys: Keys | None, shape: tuple[int, ...]
) -> jax.Array:
    if keys is None or (not isinstance(rate, jax.Array) and rate == 0):
        return x
    kept = jax.vmap(lambda key: jax.random.bernoulli(key, 1 - rate, shape))(keys.each_n)
    return jnp.where(kept, x / (1 - rate), 0)
