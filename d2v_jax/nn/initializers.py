"""Initial values, as functions (key, shape, dtype) -> array."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

Initializer = Callable[..., jax.Array]

# Every Linear of a trunk, by the recipe's word for it (REFERENCE §1.10, §6.2).
NAMED: dict[str, Initializer] = {
    "bert": jax.nn.initializers.normal(0.02),
    "beit": jax.nn.initializers.truncated_normal(0.02, lower=-1.0, upper=1.0),
    "xavier": jax.nn.initializers.xavier_uniform(),
}


def uniform(low: float, high: float) -> Initializer:
    """Uniform in [low, high)."""

    def init(key: jax.Array, shape: tuple[int, ...], dtype=jnp.float32) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, low, high)

    return init


def torch_default(fan_in: int) -> Initializer:
    """Uniform in ±1/sqrt(fan_in), for a kernel and its bias alike (REFERENCE, notation)."""
    return uniform(-1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in))


def xavier_uniform(fan_in: int, fan_out: int) -> Initializer:
    """Uniform in ±sqrt(6 / (fan_in + fan_out))."""
    bound = math.sqrt(6 / (fan_in + fan_out))
    return uniform(-bound, bound)


def kaiming_normal(fan_in: int) -> Initializer:
    """N(0, 2 / fan_in)."""
    return jax.nn.initializers.normal(math.sqrt(2 / fan_in))


def scaled(init: Initializer, factor: float) -> Initializer:
    """`init` times `factor`."""
    return lambda *args: init(*args) * factor


def zero_row(init: Initializer, row: int) -> Initializer:
    """`init` with one row of the table zero."""
    return lambda *args: init(*args).at[row].set(0)
