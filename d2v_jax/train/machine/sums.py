"""Sums over whole arrays, in a form that suits the platform a program is compiled for."""

import jax
import jax.numpy as jnp

FOLDS = 3  # a fourth is written to memory again


def square_sum(x: jax.Array) -> jax.Array:
    """Of all entries, in float32; a scalar."""
    return jax.lax.platform_dependent(x, cpu=_folded, default=_plain)


def _plain(x: jax.Array) -> jax.Array:
    return jnp.sum(jnp.square(x.astype(jnp.float32)))


def _folded(x: jax.Array) -> jax.Array:
    """XLA:CPU writes the squares to memory and sums them by one thread: so these shall be few.

    Rows are laid upon each other, as far as there is an even number of them.
    """
    squares = jnp.square(x.astype(jnp.float32))
    for _ in range(FOLDS if x.ndim > 1 else 0):
        half, odd = divmod(squares.shape[0], 2)
        if odd or not half:
            break
        squares = squares[:half] + squares[half:]
    return jnp.sum(squares)
