"""Layer and instance norms, statistics in float32, variance biased and taken in two passes."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def standardize(x: jax.Array, axis: int, eps: float = 1e-5) -> jax.Array:
    """Mean 0 and variance 1 along `axis`, without affine; at least float32.

    Axis -1 of x_btd is a layer norm over D; axis -2 an instance norm over T (REFERENCE, notation).
    Only x and its statistics are kept for the way back.
    """
    return _standardized(x, axis, eps)[0]


def _standardized(
    x: jax.Array, axis: int, eps: float
) -> tuple[jax.Array, tuple[jax.Array, jax.Array, jax.Array]]:
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    mean = wide.mean(axis, keepdims=True)
    centred = wide - mean
    scale = jax.lax.rsqrt(jnp.square(centred).mean(axis, keepdims=True) + eps)
    return centred * scale, (x, mean, scale)


def _backwards(
    axis: int, eps: float, kept: tuple[jax.Array, jax.Array, jax.Array], dy: jax.Array
) -> tuple[jax.Array]:
    x, mean, scale = kept
    y = (x.astype(mean.dtype) - mean) * scale
    along = (dy * y).mean(axis, keepdims=True)
    return ((scale * (dy - dy.mean(axis, keepdims=True) - y * along)).astype(x.dtype),)


standardize.defvjp(_standardized, _backwards)


class LayerNorm(nn.Module):
    """Affine layer norm over the last axis; returns `dtype`."""

    eps: float
    dtype: str

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        width = x.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (width,))
        bias = self.param("bias", nn.initializers.zeros, (width,))
        return (standardize(x, -1, self.eps) * scale + bias).astype(self.dtype)
