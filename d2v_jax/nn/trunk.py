"""A stack of blocks that shows every layer."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.extend.core import Primitive

from d2v_jax.common.rng import Keys
from d2v_jax.nn import dense, products
from d2v_jax.nn.block import Block, BlockSpec, Layer, skipped
from d2v_jax.nn.dropout import dropout
from d2v_jax.nn.norm import LayerNorm


def _linear_layers(primitive: Primitive, *_: Any, **params: Any) -> bool:
    return products.is_product(dense.Linear, primitive, params)


_DOTS = jax.checkpoint_policies.dots_with_no_batch_dims_saveable
# What of a block is kept for the way back; the rest is computed again.
REMAT = {
    "none": jax.checkpoint_policies.everything_saveable,
    "cheap": jax.checkpoint_policies.save_from_both_policies(_DOTS, _linear_layers),
    "blocks": jax.checkpoint_policies.nothing_saveable,
}


def ramp(first: float, last: float, count: int) -> list[float]:
    """`count` numbers, evenly spaced; a single one is the first."""
    return [first + (last - first) * i / max(count - 1, 1) for i in range(count)]


class Stack(NamedTuple):
    """What a trunk did to its input."""

    entered: jax.Array  # [n, t, d], the first block's input
    layers: list[Layer]
    out: jax.Array  # [n, t, d]


class Trunk(nn.Module):
    """x_ntd -> Stack. Parameters: block_00, block_01, ..., and `norm`.

    `norm` says where an affine layer norm stands: "input", "output" or "none". `input_dropout`
    acts behind an input norm; drop path rises linearly over the blocks, from the first to the
    second of `drop_path`.
    `remat` is a name of `REMAT`. With `scan` one block is compiled and run `depth` times, on
    parameters stacked as it runs: the tree stays as it is, and so do all numbers.
    """

    spec: BlockSpec
    depth: int
    norm: str = "none"
    input_dropout: float = 0.0
    drop_path: tuple[float, float] = (0.0, 0.0)
    layer_drop: float = 0.0
    remat: str = "none"
    scan: bool = False

    @nn.compact
    def __call__(
        self,
        x_ntd: jax.Array,
        bias_nhtt: jax.Array | None = None,
        padding_nt: jax.Array | None = None,
        keys: Keys | None = None,
    ) -> Stack:
        keys_of = lambda name: None if keys is None else keys.named(name)
        normed = lambda x: LayerNorm(self.spec.norm_eps, self.spec.dtype, name="norm")(x)
        if self.norm == "input":
            x_ntd = dropout(normed(x_ntd), self.input_dropout, keys_of("input"))
        path_rates = ramp(*self.drop_path, self.depth)
        draws = [(keys_of(f"block {i}"), keys_of(f"skip {i}")) for i in range(self.depth)]
        scan = self.scan and self.depth > 1 and not self.is_initializing()
        run = self._scanned if scan else self._one_by_one
        layers = run(x_ntd, bias_nhtt, padding_nt, path_rates, draws)
        out_ntd = layers[-1].out if layers else x_ntd
        return Stack(x_ntd, layers, normed(out_ntd) if self.norm == "output" else out_ntd)

    def _one_by_one(self, x_ntd, bias_nhtt, padding_nt, path_rates, draws) -> list[Layer]:
        layers = []
        block_class = (
            Block
            if self.remat == "none"
            else nn.remat(
                Block,
                policy=REMAT[self.remat],
                static_argnums=(5,),  # the rate of drop path
            )
        )
        for i, (path_rate, (keys, skip)) in enumerate(zip(path_rates, draws)):
            block = block_class(self.spec, i, name=f"block_{i:02d}")
            layer = block(x_ntd, bias_nhtt, padding_nt, keys, path_rate)
            layers.append(skipped(layer, x_ntd, self.layer_drop, skip))
            x_ntd = layers[-1].out
        return layers

    def _scanned(self, x_ntd, bias_nhtt, padding_nt, path_rates, draws) -> list[Layer]:
        stacked = lambda trees: jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)
        tree = self.variables["params"]
        params = stacked([tree[f"block_{i:02d}"] for i in range(self.depth)])
        block = Block(self.spec, parent=None)

        def body(x_ntd, each):
            params, path_rate, (keys, skip) = each
            path_rate = path_rate if any(self.drop_path) else 0.0
            layer = block.apply({"params": params}, x_ntd, bias_nhtt, padding_nt, keys, path_rate)
            layer = skipped(layer, x_ntd, self.layer_drop, skip)
            return layer.out, layer

        if self.remat != "none":
            body = jax.checkpoint(body, policy=REMAT[self.remat])
        _, layers = jax.lax.scan(body, x_ntd, (params, jnp.array(path_rates), stacked(draws)))
        return [Layer(layers.ffn[i], layers.out[i]) for i in range(self.depth)]
