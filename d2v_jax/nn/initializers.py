"""Initial values, as functions (key, shape, dtype) -> array."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

Initializer = Callable[..., jax.Array]

bert = jax.nn.initializers.normal(0.02)  # every Linear of a trunk (REFERENCE §1.10)


def torch_default(fan_in: int) -> Initializer:
    """Uniform in ±1/sqrt(fan_in), for a kernel and its bias alike (REFERENCE, notation)."""
    bound = 1 / math.sqrt(fan_in)

    def init(key: jax.Array, shape: tuple[int, ...], dtype=jnp.float32) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


def xavier_uniform(fan_in: int, fan_out: int) -> Initializer:
    """Uniform in ±sqrt(6 / (fan_in + fan_out))."""
    bound = math.sqrt(6 / (fan_in + fan_out))

    def init(key: jax.Array, shape: tuple[int, ...], dtype=jnp.float32) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init
