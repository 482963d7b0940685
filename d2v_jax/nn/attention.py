"""Multi-head self-attention over whole, unmasked sequences."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange

from d2v_jax.nn import initializers


class Attention(nn.Module):
    """x_ntd -> x_ntd; fused qkv with full bias, columns ordered q|k|v, each head-major.

    The softmax is float32 whatever `dtype` computes the products (REFERENCE §1.4, block C).
    """

    heads: int
    dtype: str

    @nn.compact
    def __call__(self, x_ntd: jax.Array) -> jax.Array:
        width = x_ntd.shape[-1]
        dense = lambda features, name: nn.Dense(
            features, dtype=self.dtype, kernel_init=initializers.bert, name=name
        )
        qkv = dense(3 * width, "qkv")(x_ntd)
        q_nhtk, k_nhtk, v_nhtk = rearrange(qkv, "n t (i h k) -> i n h t k", i=3, h=self.heads)
        q_nhtk = q_nhtk * (width // self.heads) ** -0.5
        logits_nhtt = jnp.einsum("nhtk,nhsk->nhts", q_nhtk, k_nhtk)
        weights_nhtt = jax.nn.softmax(logits_nhtt.astype(jnp.float32)).astype(self.dtype)
        mixed_nhtk = jnp.einsum("nhts,nhsk->nhtk", weights_nhtt, v_nhtk)
        return dense(width, "out")(rearrange(mixed_nhtk, "n h t k -> n t (h k)"))
