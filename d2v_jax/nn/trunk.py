"""A stack of blocks that shows every layer."""

from typing import NamedTuple

import flax.linen as nn
import jax

from d2v_jax.common.rng import Keys
from d2v_jax.nn.block import Block, BlockSpec, Layer, skipped
from d2v_jax.nn.dropout import dropout
from d2v_jax.nn.norm import LayerNorm

# What of a block is kept for the way back; the rest is computed again.
REMAT = {
    "none": jax.checkpoint_policies.everything_saveable,
    "cheap": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    "blocks": jax.checkpoint_policies.nothing_saveable,
}


class Stack(NamedTuple):
    """What a trunk did to its input."""

    entered: jax.Array  # [n, t, d], the first block's input
    layers: list[Layer]
    out: jax.Array  # [n, t, d]


class Trunk(nn.Module):
    """x_ntd -> Stack. Parameters: block_00, block_01, ..., and `norm`.

    `norm` says where an affine layer norm stands: "input", "output" or "none". `input_dropout`
    acts behind an input norm; drop path rises linearly from 0 to `drop_path` over the blocks.
    `remat` is a name of `REMAT`.
    """

    spec: BlockSpec
    depth: int
    norm: str = "none"
    input_dropout: float = 0.0
    drop_path: float = 0.0
    layer_drop: float = 0.0
    remat: str = "none"

    @nn.compact
    def __call__(
        self,
        x_ntd: jax.Array,
        bias_nhtt: jax.Array | None = None,
        padding_nt: jax.Array | None = None,
        keys: Keys | None = None,
    ) -> Stack:
        place = lambda name: None if keys is None else keys.named(name)
        normed = lambda x: LayerNorm(self.spec.norm_eps, self.spec.dtype, name="norm")(x)
        if self.norm == "input":
            x_ntd = dropout(normed(x_ntd), self.input_dropout, place("input"))
        entered, layers = x_ntd, []
        kind = Block if self.remat == "none" else nn.remat(Block, policy=REMAT[self.remat])
        for i in range(self.depth):
            path = self.drop_path * i / max(self.depth - 1, 1)
            block = kind(self.spec, i, path, name=f"block_{i:02d}")
            layer = block(x_ntd, bias_nhtt, padding_nt, place(f"block {i}"))
            layers.append(skipped(layer, x_ntd, self.layer_drop, place(f"skip {i}")))
            x_ntd = layers[-1].out
        return Stack(entered, layers, normed(x_ntd) if self.norm == "output" else x_ntd)
