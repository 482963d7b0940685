"""A stack of blocks that shows every layer."""

import flax.linen as nn
import jax

from d2v_jax.nn.block import Block, Layer
from d2v_jax.nn.norm import LayerNorm


class Trunk(nn.Module):
    """x_ntd -> the layers of all blocks, first to last. Parameters: block_00, block_01, ..."""

    depth: int
    heads: int
    mlp_ratio: float
    norm_eps: float
    dtype: str

    @nn.compact
    def __call__(self, x_ntd: jax.Array) -> list[Layer]:
        layers = []
        for i in range(self.depth):
            block = Block(
                self.heads, self.mlp_ratio, self.norm_eps, self.dtype, name=f"block_{i:02d}"
            )
            layers.append(block(x_ntd))
            x_ntd = layers[-1].out
        return layers


class Prenet(Trunk):
    """A layer norm, then a trunk of its own (REFERENCE §8.1, step 8). Returns (normed, layers)."""

    @nn.compact
    def __call__(self, x_ntd: jax.Array) -> tuple[jax.Array, list[Layer]]:
        normed_ntd = LayerNorm(self.norm_eps, self.dtype, name="norm")(x_ntd)
        return normed_ntd, super().__call__(normed_ntd)
