"""One Transformer block, the norm after each branch or before it."""

import dataclasses
import math
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from d2v_jax.common.rng import Keys
from d2v_jax.nn import initializers
from d2v_jax.nn.activation import gelu
from d2v_jax.nn.attention import Attention
from d2v_jax.nn.dense import Dense
from d2v_jax.nn.dropout import drop_path, dropout
from d2v_jax.nn.norm import LayerNorm


class Layer(NamedTuple):
    """What one block offers upstairs, both [n, t, d]."""

    ffn: jax.Array  # output of the feed-forward sub-layer before the residual addition
    out: jax.Array  # output of the block


@dataclasses.dataclass(frozen=True)
class BlockSpec:
    """What all blocks of a stack have in common.

    `block`: "post_norm"; "pre_norm" with layer scale and without key bias; "plain_pre_norm".
    """

    block: str
    heads: int
    hidden: int  # units of the MLP
    norm_eps: float
    dtype: str
    dropout: float = 0.0
    attention_dropout: float = 0.0
    activation_dropout: float = 0.0  # of the MLP's units
    layer_scale: float = 1.0  # initial factor of each branch, "pre_norm" only
    init: str = "bert"
    attention_parts: int = 1  # in which the rows' attention is computed
    fused_attention: bool = False  # by cuDNN's kernel where that can be
    relative_grid: tuple[int, int] | None = None  # a relative position table of each block's own


class Mlp(nn.Module):
    """x_ntd -> x_ntd through `hidden` units and the exact gelu."""

    hidden: int
    dtype: str
    kernel_init: initializers.Initializer
    out_init: initializers.Initializer
    dropout: float = 0.0  # of the units

    @nn.compact
    def __call__(self, x_ntd: jax.Array, keys: Keys | None = None) -> jax.Array:
        dense = lambda features, init, name: Dense(
            features, dtype=self.dtype, kernel_init=init, name=name
        )
        x_ntf = gelu(dense(self.hidden, self.kernel_init, "fc1")(x_ntd))
        x_ntf = dropout(x_ntf, self.dropout, keys)
        return dense(x_ntd.shape[-1], self.out_init, "fc2")(x_ntf)


class Block(nn.Module):
    """Attention and MLP with residuals (REFERENCE §1.4: A and C are "post_norm", B "pre_norm").
    "plain_pre_norm" is B with a key bias and without layer scale.

    `number` counts from 0; with "beit" the last matrix of each branch starts smaller the
    deeper the block is (§6.2). `path_rate` is that of drop path.
    """

    spec: BlockSpec
    number: int = 0

    @nn.compact
    def __call__(
        self,
        x_ntd: jax.Array,
        bias_nhtt: jax.Array | None = None,
        padding_nt: jax.Array | None = None,
        keys: Keys | None = None,
        path_rate: float | jax.Array = 0.0,
    ) -> Layer:
        spec = self.spec
        init = out_init = initializers.NAMED[spec.init]
        if spec.init == "beit":
            out_init = initializers.scaled(init, 1 / math.sqrt(2 * (self.number + 1)))
        keys_of = lambda name: None if keys is None else keys.named(name)
        attention = Attention(
            spec.heads,
            spec.dtype,
            spec.attention_dropout,
            spec.attention_parts,
            spec.fused_attention,
            spec.block != "pre_norm",
            spec.relative_grid,
            init,
            out_init,
            name="attention",
        )
        mlp = Mlp(spec.hidden, spec.dtype, init, out_init, spec.activation_dropout, name="mlp")
        norm1, norm2 = (
            LayerNorm(spec.norm_eps, spec.dtype, name=name) for name in ("norm1", "norm2")
        )
        mix = lambda x: attention(x, bias_nhtt, padding_nt, keys_of("attention"))
        feed = lambda x: mlp(x, keys_of("activation"))

        def regularized(branch_ntd: jax.Array, name: str) -> jax.Array:
            branch_ntd = dropout(branch_ntd, spec.dropout, keys_of(f"{name} dropout"))
            return drop_path(branch_ntd, path_rate, keys_of(f"{name} path"))

        if spec.block == "post_norm":
            x_ntd = norm1(x_ntd + regularized(mix(x_ntd), "mix"))
            ffn_ntd = feed(x_ntd)
            return Layer(ffn_ntd, norm2(x_ntd + regularized(ffn_ntd, "ffn")))
        if spec.block == "plain_pre_norm":
            x_ntd = x_ntd + regularized(mix(norm1(x_ntd)), "mix")
            ffn_ntd = feed(norm2(x_ntd))
            return Layer(ffn_ntd, x_ntd + regularized(ffn_ntd, "ffn"))
        gamma1, gamma2 = (
            self.param(name, nn.initializers.constant(spec.layer_scale), x_ntd.shape[-1:])
            for name in ("gamma1", "gamma2")
        )
        x_ntd = x_ntd + regularized(mix(norm1(x_ntd)) * gamma1.astype(x_ntd.dtype), "mix")
        ffn_ntd = regularized(feed(norm2(x_ntd)) * gamma2.astype(x_ntd.dtype), "ffn")
        return Layer(ffn_ntd, x_ntd + ffn_ntd)


def skipped(layer: Layer, x_ntd: jax.Array, rate: float, keys: Keys | None) -> Layer:
    """Layer drop: with probability `rate` the whole batch passes by, residual included (§1.11)."""
    if keys is None or rate == 0:
        return layer
    kept = jax.random.bernoulli(keys.all, 1 - rate)
    return Layer(layer.ffn, jnp.where(kept, layer.out, x_ntd))
