"""Multi-head self-attention with an additive bias and padding."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange

from d2v_jax.common.rng import Keys
from d2v_jax.nn import initializers
from d2v_jax.nn.dense import Dense
from d2v_jax.nn.dropout import dropout
from d2v_jax.nn.positions import RelativeBias

HIDDEN_LOGIT = -1e30  # finite, so that a row of nothing but padding does not become NaN


class Attention(nn.Module):
    """x_ntd -> x_ntd; fused qkv, columns ordered q|k|v, each head-major.

    The softmax is float32 whatever `dtype` computes the products. Without `key_bias` only
    queries and values have a bias: a key's cancels in the softmax, and its gradient is
    rounding noise (REFERENCE §1.4). `relative_grid` adds a table of this layer's own.
    """

    heads: int
    dtype: str
    dropout: float = 0.0
    key_bias: bool = True
    relative_grid: tuple[int, int] | None = None
    kernel_init: initializers.Initializer = initializers.NAMED["bert"]
    out_init: initializers.Initializer = initializers.NAMED["bert"]

    @nn.compact
    def __call__(
        self,
        x_ntd: jax.Array,
        bias_nhtt: jax.Array | None = None,
        padding_nt: jax.Array | None = None,
        keys: Keys | None = None,
    ) -> jax.Array:
        width = x_ntd.shape[-1]
        qkv = Dense(3 * width, self.key_bias, self.dtype, kernel_init=self.kernel_init, name="qkv")(
            x_ntd
        )
        if not self.key_bias:
            q_bias, v_bias = (
                self.param(name, nn.initializers.zeros, (width,)) for name in ("q_bias", "v_bias")
            )
            qkv = qkv + jnp.concatenate([q_bias, jnp.zeros(width), v_bias]).astype(qkv.dtype)
        q_nhtk, k_nhtk, v_nhtk = (
            rearrange(one_ntd, "n t (h k) -> n h t k", h=self.heads)
            for one_ntd in jnp.split(qkv, 3, -1)
        )
        q_nhtk = q_nhtk * (width // self.heads) ** -0.5
        logits_nhtt = jnp.einsum("nhtk,nhsk->nhts", q_nhtk, k_nhtk).astype(jnp.float32)
        if self.relative_grid:
            logits_nhtt = (
                logits_nhtt + RelativeBias(self.relative_grid, self.heads, name="relative")()
            )
        if bias_nhtt is not None:
            logits_nhtt = logits_nhtt + bias_nhtt
        if padding_nt is not None:
            logits_nhtt = jnp.where(padding_nt[:, None, None], HIDDEN_LOGIT, logits_nhtt)
        weights_nhtt = jax.nn.softmax(logits_nhtt).astype(self.dtype)
        weights_nhtt = dropout(weights_nhtt, self.dropout, keys)
        mixed_nhtk = jnp.einsum("nhts,nhsk->nhtk", weights_nhtt, v_nhtk)
        return Dense(width, dtype=self.dtype, kernel_init=self.out_init, name="out")(
            rearrange(mixed_nhtk, "n h t k -> n t (h k)")
        )
