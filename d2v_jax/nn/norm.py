"""Layer and instance norms, statistics in float32, variance biased and taken in two passes."""

import flax.linen as nn
import jax
import jax.numpy as jnp


def standardize(x: jax.Array, axis: int, eps: float = 1e-5) -> jax.Array:
    """Mean 0 and variance 1 along `axis`, without affine; at least float32.

    Axis -1 of x_btd is a layer norm over D; axis -2 an instance norm over T (REFERENCE, notation).
    """
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    centred = x - x.mean(axis, keepdims=True)
    variance = jnp.square(centred).mean(axis, keepdims=True)
    return centred * jax.lax.rsqrt(variance + eps)


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
