"""Multi-head self-attention with an additive bias and padding."""

import functools
import math
from collections.abc import Callable
from typing import Any

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
    parts: int = 1  # of the rows, see `in_parts`
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
        if self.relative_grid:
            own_htt = RelativeBias(self.relative_grid, self.heads, name="relative")()
            bias_nhtt = own_htt[None] if bias_nhtt is None else own_htt + bias_nhtt
        mix = functools.partial(attend, heads=self.heads, rate=self.dropout)
        mixed_ntd = in_parts(mix, self.parts, qkv, bias_nhtt, padding_nt, keys)
        return Dense(width, dtype=self.dtype, kernel_init=self.out_init, name="out")(mixed_ntd)


def attend(
    qkv_ntd: jax.Array,
    bias_nhtt: jax.Array | None,
    padding_nt: jax.Array | None,
    keys: Keys | None,
    heads: int,
    rate: float,
) -> jax.Array:
    """[n, t, 3 d] -> [n, t, d]: the values, mixed by the softmax of queries times keys."""
    q_nhtk, k_nhtk, v_nhtk = (
        rearrange(one_ntd, "n t (h k) -> n h t k", h=heads) for one_ntd in jnp.split(qkv_ntd, 3, -1)
    )
    q_nhtk = q_nhtk * q_nhtk.shape[-1] ** -0.5
    logits_nhtt = jnp.einsum("nhtk,nhsk->nhts", q_nhtk, k_nhtk, preferred_element_type=jnp.float32)
    if bias_nhtt is not None:
        logits_nhtt = logits_nhtt + bias_nhtt
    if padding_nt is not None:
        logits_nhtt = jnp.where(padding_nt[:, None, None], HIDDEN_LOGIT, logits_nhtt)
    weights_nhtt = jax.nn.softmax(logits_nhtt).astype(qkv_ntd.dtype)
    weights_nhtt = dropout(weights_nhtt, rate, keys)
    mixed_nhtk = jnp.einsum("nhts,nhsk->nhtk", weights_nhtt, v_nhtk)
    return rearrange(mixed_nhtk, "n h t k -> n t (h k)")


def in_parts(
    mix: Callable[..., jax.Array],
    parts: int,
    qkv_ntd: jax.Array,
    bias_nhtt: jax.Array | None,
    padding_nt: jax.Array | None,
    keys: Keys | None,
) -> jax.Array:
    """`mix` of some rows after the others, computed once more on the way back.

    The logits of a part, which are the largest arrays of an encoder, so never leave the fast
    memory of an accelerator. As many parts as divide the rows; 1 is `mix` itself, all kept. Each
    part takes every nth row, and so draws on every device's share.
    """
    parts = math.gcd(parts, qkv_ntd.shape[0])
    if parts == 1:
        return mix(qkv_ntd, bias_nhtt, padding_nt, keys)
    of_all = bias_nhtt if bias_nhtt is not None and bias_nhtt.shape[0] == 1 else None
    rows = (qkv_ntd, None if of_all is not None else bias_nhtt, padding_nt)
    rows = (*rows, None if keys is None else keys.each_n)

    @jax.checkpoint
    def part(of_all: jax.Array | None, rows: Any) -> jax.Array:
        qkv_ntd, bias_nhtt, padding_nt, each_n = rows
        own = None if each_n is None else Keys(keys.all, each_n)
        return mix(qkv_ntd, bias_nhtt if of_all is None else of_all, padding_nt, own)

    split = lambda x: jnp.swapaxes(x.reshape(-1, parts, *x.shape[1:]), 0, 1)
    mixed = jax.lax.map(lambda rows: part(of_all, rows), jax.tree.map(split, rows))
    return jnp.swapaxes(mixed, 0, 1).reshape(-1, *mixed.shape[2:])
