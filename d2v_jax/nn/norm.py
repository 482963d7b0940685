"""Layer and instance norms, statistics in float32, variance biased and taken in two passes."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

EPS = 1e-5


def standardize(x: jax.Array, axis: int, eps: float = EPS, dtype: str | None = None) -> jax.Array:
    """Mean 0 and variance 1 along `axis`, without affine; at least float32, or `dtype`.

    Axis -1 of x_btd is a layer norm over D; axis -2 an instance norm over T (REFERENCE, notation).
    """
    return _normed(x, axis, eps, dtype)


def layer_norm(
    x: jax.Array,
    scale: jax.Array,
    bias: jax.Array,
    eps: float = EPS,
    dtype: str | None = None,
) -> jax.Array:
    """Over the last axis, then `scale` and `bias` of its length; at least float32, or `dtype`."""
    return _normed(x, -1, eps, dtype, scale, bias)


def instance_norm(
    x: jax.Array,
    scale: jax.Array,
    bias: jax.Array,
    eps: float = EPS,
    dtype: str | None = None,
) -> jax.Array:
    """Over the last axis but one, then `scale` and `bias` of the last's length."""
    return _normed(x, -2, eps, dtype, scale, bias)


def _normed(
    x: jax.Array, axis: int, eps: float, dtype: str | None, *affine: jax.Array
) -> jax.Array:
    """Only x and its statistics are kept for the way back: that is the checkpoint."""
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    mean = wide.mean(axis, keepdims=True)
    scale = jax.lax.rsqrt(jnp.square(wide - mean).mean(axis, keepdims=True) + eps)

    @functools.partial(jax.checkpoint, prevent_cse=False)
    def apply(x: jax.Array, mean: jax.Array, scale: jax.Array, *affine: jax.Array) -> jax.Array:
        y = _standardized(x, mean, scale, axis)
        if affine:
            y = y * affine[0] + affine[1]
        return y.astype(dtype or y.dtype)

    return apply(x, mean, scale, *affine)


@functools.partial(jax.custom_jvp, nondiff_argnums=(3,))
def _standardized(x: jax.Array, mean: jax.Array, scale: jax.Array, axis: int) -> jax.Array:
    return (x.astype(mean.dtype) - mean) * scale


@_standardized.defjvp
def _standardized_jvp(
    axis: int, primals: tuple[jax.Array, ...], tangents: tuple[jax.Array, ...]
) -> tuple[jax.Array, jax.Array]:
    """How y moves with x, the statistics following: what they do of their own is in there.

    Transposed this is scale * (dy - mean(dy) - y * mean(dy * y)), in that order.
    """
    x, mean, scale = primals
    y = (x.astype(mean.dtype) - mean) * scale
    dx = tangents[0].astype(y.dtype) * scale
    along = y * -(dx * y).mean(axis, keepdims=True)
    return y, (dx + -dx.mean(axis, keepdims=True)) + along


class LayerNorm(nn.Module):
    """Affine layer norm over the last axis; returns `dtype`."""

    eps: float
    dtype: str

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        width = x.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (width,))
        bias = self.param("bias", nn.initializers.zeros, (width,))
        return layer_norm(x, scale, bias, self.eps, self.dtype)
