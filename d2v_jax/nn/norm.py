"""Layer and instance norms, statistics in float32, variance biased and taken in two passes."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

STATISTICS = "statistics of a norm"  # their name to `jax.checkpoint`


def standardize(x: jax.Array, axis: int, eps: float = 1e-5) -> jax.Array:
    """Mean 0 and variance 1 along `axis`, without affine; at least float32.

    Axis -1 of x_btd is a layer norm over D; axis -2 an instance norm over T (REFERENCE, notation).
    Only x and its statistics are kept for the way back.
    """
    keep = jax.checkpoint_policies.save_only_these_names(STATISTICS)
    kept = jax.checkpoint(_standardize, static_argnums=(1, 2), prevent_cse=False, policy=keep)
    return kept(x, axis, eps)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1, 2))
def _standardize(x: jax.Array, axis: int, eps: float) -> jax.Array:
    return _with_scale(x, axis, eps)[0]


def _with_scale(x: jax.Array, axis: int, eps: float) -> tuple[jax.Array, jax.Array]:
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    mean = checkpoint_name(wide.mean(axis, keepdims=True), STATISTICS)
    centred = wide - mean
    variance = jnp.square(centred).mean(axis, keepdims=True)
    scale = checkpoint_name(jax.lax.rsqrt(variance + eps), STATISTICS)
    return centred * scale, scale


@_standardize.defjvp
def _standardize_jvp(
    axis: int, eps: float, primals: tuple[jax.Array], tangents: tuple[jax.Array]
) -> tuple[jax.Array, jax.Array]:
    """Transposed this is scale * (dy - mean(dy) - y * mean(dy * y)), in that order."""
    (x,), (dx,) = primals, tangents
    y, scale = _with_scale(x, axis, eps)
    dx = dx.astype(y.dtype) * scale
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
        return (standardize(x, -1, self.eps) * scale + bias).astype(self.dtype)
