"""Multi-head self-attention with an additive bias and padding."""

import functools
import math
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange

from d2v_jax.common.rng import Keys
from d2v_jax.nn import fused, initializers
from d2v_jax.nn.dense import Dense
from d2v_jax.nn.dropout import KEPT, dropout
from d2v_jax.nn.layout import local, platform
from d2v_jax.nn.positions import RelativeBias

HIDDEN_LOGIT = -1e30  # finite, so that a row of nothing but padding does not become NaN
# A part keeps which weights it dropped: a byte each, dearer to draw again than to read.
DRAWN = jax.checkpoint_policies.save_only_these_names(KEPT)


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
    fused: bool = False  # by one kernel where it can be, see `fused.serves`
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
        rate = 0.0 if keys is None else self.dropout
        if self.fused and fused.serves(qkv, rate, platform()):
            mixed_ntd = fused.attend(qkv, bias_nhtt, padding_nt, self.heads)
        else:
            mix = functools.partial(attend, heads=self.heads, rate=rate)
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
    logits_nhtt = jnp.einsum("nhtk,nhsk->nhts", q_nhtk, k_nhtk).astype(jnp.float32)
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

    The logits of a part, which are the largest arrays of an encoder, so need not leave the fast
    memory of an accelerator, and are not kept. Every device takes its own rows in parts, as many
    as divide them; 1 is `mix` itself, all kept. Not a loop: it would copy what it goes through.
    A CPU has no such memory, and what is not compiled for a mesh is no step.
    """
    rows = qkv_ntd.shape[0]
    devices = rows // local(rows)
    parts = math.gcd(parts, local(rows)) if platform() != "cpu" else 1
    if parts == 1:
        return mix(qkv_ntd, bias_nhtt, padding_nt, keys)
    shared = bias_nhtt is not None and bias_nhtt.shape[0] == 1

    @functools.partial(jax.checkpoint, policy=DRAWN)
    def part(qkv_ntd, bias_nhtt, padding_nt, each_n) -> jax.Array:
        return mix(
            qkv_ntd, bias_nhtt, padding_nt, each_n if keys is None else Keys(keys.all, each_n)
        )

    def split(x: jax.Array | None) -> Sequence[jax.Array | None]:
        if x is None:
            return [None] * parts
        each = jax.lax.split(x.reshape(devices, parts, -1, *x.shape[1:]), (1,) * parts, 1)
        return [one.reshape(-1, *x.shape[1:]) for one in each]

    every = zip(
        split(qkv_ntd),
        [bias_nhtt] * parts if shared else split(bias_nhtt),
        split(padding_nt),
        split(None if keys is None else keys.each_n),
    )
    mixed = [part(*rows) for rows in every]
    tail = mixed[0].shape[1:]
    return jnp.concatenate([x.reshape(devices, 1, -1, *tail) for x in mixed], 1).reshape(-1, *tail)
