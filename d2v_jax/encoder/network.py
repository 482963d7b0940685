"""The encoder's parameters and how they are applied: frontend, positions, prefix, prenet, trunk."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from d2v_jax.common.rng import Keys
from d2v_jax.encoder import masking, parts
from d2v_jax.encoder.masking import Mask
from d2v_jax.encoder.sections import EncoderConfig, TrunkConfig
from d2v_jax.frontends.frontend import Inputs
from d2v_jax.nn.block import BlockSpec
from d2v_jax.nn.recurrent import GATES, Recurrent
from d2v_jax.nn.trunk import Stack, Trunk, ramp


class Tokens(NamedTuple):
    """A frontend's output; padding is True where there is nothing, None where that is nowhere."""

    x_btd: jax.Array
    padding_bt: jax.Array | None = None


class Encoded(NamedTuple):
    """The stages of one pass through the encoder; prefix tokens in front of each."""

    prenet: Stack
    trunk: Stack
    padding_nt: jax.Array | None

    @property
    def out(self) -> jax.Array:
        """The encoder's output [n, p + t, d]."""
        return self.trunk.out


def drop_paths(trunk: TrunkConfig) -> tuple[tuple[float, float], tuple[float, float]]:
    """The first and last rate of drop path in the prenet, and those in the trunk.

    "trunk": from 0 to `drop_path` in the trunk. "both": the first entries of that ramp belong to
    the prenet, and the trunk goes on behind them in as many steps as it has blocks (REFERENCE
    §12.3).
    """
    most, prenet = trunk.drop_path, trunk.prenet_depth
    if trunk.drop_path_ramp == "trunk" or not prenet:
        return (0.0, 0.0), (0.0, most)
    steps = ramp(0.0, most, trunk.depth)
    return (steps[0], steps[prenet - 1]), (steps[prenet], steps[-1])


class Network(nn.Module):
    """Parts: the top level of the tree. Objectives add their own in a subclass."""

    cfg: EncoderConfig

    def setup(self) -> None:
        cfg, trunk, grid = self.cfg, self.cfg.trunk, self.cfg.frontend.grid
        self.frontend = cfg.frontend.build(trunk.width, trunk.dtype, trunk.init)
        self.positions = parts.Positions(cfg.positions, trunk, grid)
        if cfg.mask.hide == "replace":
            self.mask = parts.MaskEmbedding(parts.MASK_INIT[trunk.init])
        if trunk.prefix_tokens:
            init = parts.PREFIX_INIT[trunk.init]
            self.prefix = parts.PrefixTokens(trunk.prefix_tokens, init)
        spec = BlockSpec(
            block=trunk.block,
            heads=trunk.heads,
            hidden=trunk.hidden,
            norm_eps=trunk.norm_eps,
            dtype=trunk.dtype,
            dropout=trunk.dropout,
            attention_dropout=trunk.attention_dropout,
            activation_dropout=trunk.activation_dropout,
            layer_scale=trunk.layer_scale,
            init=trunk.init,
            attention_parts=trunk.attention_parts,
            fused_attention=trunk.fused_attention,
            relative_grid=grid if cfg.positions.bias == "relative_per_block" else None,
        )
        prenet_path, trunk_path = drop_paths(trunk)
        self.prenet = Trunk(
            spec,
            trunk.prenet_depth,
            norm="input" if trunk.input_norm else "none",
            input_dropout=trunk.input_dropout,
            drop_path=prenet_path,
            remat=trunk.remat,
        )
        if trunk.block in GATES:
            self.trunk = Recurrent(trunk.block, trunk.width, trunk.depth, trunk.dtype)
            return
        self.trunk = Trunk(
            spec,
            trunk.depth,
            norm="output" if trunk.output_norm else "none",
            drop_path=trunk_path,
            layer_drop=trunk.layer_drop,
            remat=trunk.remat,
            scan=trunk.scan,
        )

    def tokens(self, inputs: Inputs, random: Keys | None) -> Tokens:
        padding_bt = self.cfg.frontend.padding(inputs)
        return Tokens(self.cfg.frontend.apply(self.frontend, inputs, random), padding_bt)

    def everything(self, inputs: Inputs, mask: Mask | None, random: Keys) -> Any:
        """Touches every parameter, for initialisation."""
        return self.encode(self.tokens(inputs, random), mask, random)

    def encode(self, tokens: Tokens, mask: Mask | None, random: Keys | None) -> Encoded:
        """All tokens, or those a mask leaves, one row per view."""
        keys_of = lambda name: None if random is None else random.named(name)
        hide = None if mask is None else self.cfg.mask.hide
        x_btd, padding_bt = tokens
        views = 1 if mask is None else mask.hidden_nt.shape[0] // x_btd.shape[0]
        if hide == "replace":
            x_btd = self.mask(x_btd, mask.hidden_nt)
        x_ntd = self.positions(x_btd, padding_bt, mask.hidden_nt if hide == "remove" else None)
        ids_nt = jnp.arange(x_ntd.shape[1])[None]
        padding_nt = None if padding_bt is None else jnp.repeat(padding_bt, views, 0)
        if hide == "remove":
            ids_nt = mask.visible_ids_nv
            x_ntd = masking.gather(x_ntd, ids_nt.reshape(x_ntd.shape[0], -1, ids_nt.shape[1]))
            if padding_nt is not None:
                padding_nt = jnp.take_along_axis(padding_nt, ids_nt, 1)
        prefix = self.cfg.trunk.prefix_tokens
        if prefix:
            x_ntd = self.prefix(x_ntd)
            if padding_nt is not None:
                padding_nt = jnp.pad(padding_nt, ((0, 0), (prefix, 0)))
        bias_nhtt = self.positions.bias(ids_nt)
        prenet = self.prenet(x_ntd, bias_nhtt, padding_nt, keys_of("prenet"))
        trunk = self.trunk(prenet.out, bias_nhtt, padding_nt, keys_of("trunk"))
        return Encoded(prenet, trunk, padding_nt)
