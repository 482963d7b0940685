"""One post-norm Transformer block."""

from typing import NamedTuple

import flax.linen as nn
import jax

from d2v_jax.nn import initializers
from d2v_jax.nn.attention import Attention
from d2v_jax.nn.norm import LayerNorm


class Layer(NamedTuple):
    """What one block offers upstairs, both [n, t, d]."""

    ffn: jax.Array  # output of the feed-forward sub-layer before the residual addition
    out: jax.Array  # output of the block


class Mlp(nn.Module):
    """x_ntd -> x_ntd through `hidden` units and the exact gelu."""

    hidden: int
    dtype: str

    @nn.compact
    def __call__(self, x_ntd: jax.Array) -> jax.Array:
        dense = lambda features, name: nn.Dense(
            features, dtype=self.dtype, kernel_init=initializers.bert, name=name
        )
        x_ntf = jax.nn.gelu(dense(self.hidden, "fc1")(x_ntd), approximate=False)
        return dense(x_ntd.shape[-1], "fc2")(x_ntf)


class Block(nn.Module):
    """Attention and MLP, each followed by residual and layer norm (REFERENCE §1.4, block C)."""

    heads: int
    mlp_ratio: float
    norm_eps: float
    dtype: str

    @nn.compact
    def __call__(self, x_ntd: jax.Array) -> Layer:
        norm = lambda name: LayerNorm(self.norm_eps, self.dtype, name=name)
        x_ntd = norm("norm1")(x_ntd + Attention(self.heads, self.dtype, name="attention")(x_ntd))
        hidden = int(x_ntd.shape[-1] * self.mlp_ratio)
        ffn_ntd = Mlp(hidden, self.dtype, name="mlp")(x_ntd)
        return Layer(ffn_ntd, norm("norm2")(x_ntd + ffn_ntd))
