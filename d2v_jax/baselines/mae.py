"""Masked autoencoders (arXiv:2111.06377): see a quarter of an image's patches, paint the rest.

An encoder gets the visible patches alone. A small decoder gets its output, a learned token in each
hidden place, and positions; it answers with pixels. What counts is the squared error of hidden
patches, each normalised by itself or not. The decoder is left behind.
"""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange

from d2v_jax.baselines import flops
from d2v_jax.common.checks import require
from d2v_jax.common.fields import anything, positive, require_multiple
from d2v_jax.common.rng import Keys
from d2v_jax.common.trees import Tree
from d2v_jax.encoder import masking
from d2v_jax.encoder import sections as encoder
from d2v_jax.encoder.masking import Mask, MaskConfig
from d2v_jax.encoder.model import EncoderModel
from d2v_jax.encoder.network import Network, Tokens
from d2v_jax.encoder.objective import Batch, Metrics
from d2v_jax.encoder.sections import PositionsConfig, TrunkConfig
from d2v_jax.encoder.trained import EncoderObjective
from d2v_jax.frontends.frontend import Frontend, Grid, Inputs, grid_shape
from d2v_jax.nn import initializers, positions
from d2v_jax.nn.block import BlockSpec
from d2v_jax.nn.dense import Dense
from d2v_jax.nn.trunk import Trunk

EPS = 1e-6  # in the standard deviation of a patch


@dataclasses.dataclass(frozen=True)
class PainterConfig:
    width: int = positive()
    depth: int = positive()
    heads: int = positive()
    mlp_ratio: float = positive()

    @property
    def hidden(self) -> int:
        """Units between the two products of an MLP."""
        return int(self.width * self.mlp_ratio)


@dataclasses.dataclass(frozen=True)
class PixelsConfig:
    normalize: bool = anything()


@dataclasses.dataclass(frozen=True)
class MaeConfig:
    frontend: Frontend
    positions: PositionsConfig
    trunk: TrunkConfig
    mask: MaskConfig
    painter: PainterConfig
    pixels: PixelsConfig


class Painter(nn.Module):
    """What the encoder makes of the visible patches -> pixels of all patches, [n, t, i j c]."""

    cfg: PainterConfig
    trunk: TrunkConfig
    grid: Grid
    pixels: int

    def setup(self) -> None:
        cfg, trunk = self.cfg, self.trunk
        init = initializers.NAMED[trunk.init]
        dense = lambda width: Dense(width, dtype=trunk.dtype, kernel_init=init)
        self.enter, self.leave = dense(cfg.width), dense(self.pixels)
        self.hidden = self.param("hidden", nn.initializers.normal(0.02), (cfg.width,))
        spec = BlockSpec(
            block=trunk.block,
            heads=cfg.heads,
            hidden=cfg.hidden,
            norm_eps=trunk.norm_eps,
            dtype=trunk.dtype,
            init=trunk.init,
        )
        self.blocks = Trunk(spec, cfg.depth, norm="output", remat=trunk.remat, scan=trunk.scan)

    def __call__(self, encoded_nvd: jax.Array, mask: Mask) -> jax.Array:
        prefix, tokens = self.trunk.prefix_tokens, mask.hidden_nt.shape[1]
        x_nvd = self.enter(encoded_nvd)
        x_ntd = masking.scatter(x_nvd[:, prefix:], mask.visible_ids_nv, tokens)
        x_ntd = jnp.where(mask.hidden_nt[:, :, None], self.hidden.astype(x_ntd.dtype), x_ntd)
        codes_td = positions.sincos(grid_shape(self.grid, tokens), self.cfg.width)
        x_ntd = jnp.concatenate([x_nvd[:, :prefix], x_ntd + codes_td.astype(x_ntd.dtype)], 1)
        return self.leave(self.blocks(x_ntd).out)[:, prefix:].astype(jnp.float32)


class Autoencoder(Network):
    """The encoder's parts, and `decoder`."""

    def setup(self) -> None:
        super().setup()
        cfg, frontend = self.cfg, self.cfg.frontend
        pixels = frontend.patch_size**2 * frontend.channels
        self.decoder = Painter(cfg.painter, cfg.trunk, frontend.grid, pixels)

    def paint(self, tokens: Tokens, mask: Mask, random: Keys | None) -> jax.Array:
        return self.decoder(self.encode(tokens, mask, random).out, mask)

    def everything(self, inputs: Inputs, mask: Mask, random: Keys) -> jax.Array:
        return self.paint(self.tokens(inputs, random), mask, random)


class PaintingModel(EncoderModel):
    network = Autoencoder

    def paint(self, params: Tree, tokens: Tokens, mask: Mask, random: Keys | None) -> jax.Array:
        """Pixels of every patch, [n, t, i j c] float32."""
        return self._apply(params, tokens, mask, random, method="paint")


def patches(image_byxc: jax.Array, side: int, normalize: bool) -> jax.Array:
    """The targets, [b, t, i j c]: row-major patches, channels last; each of mean 0 and (unbiased)
    variance 1 where they are normalised.
    """
    x_btp = rearrange(image_byxc, "b (y i) (x j) c -> b (y x) (i j c)", i=side, j=side)
    if not normalize:
        return x_btp
    return (x_btp - x_btp.mean(-1, keepdims=True)) / jnp.sqrt(
        x_btp.var(-1, ddof=1, keepdims=True) + EPS
    )


class Drawn(NamedTuple):
    inputs: Inputs
    mask: Mask


@dataclasses.dataclass(frozen=True)
class Objective(EncoderObjective):
    cfg: MaeConfig

    sections: ClassVar[type] = MaeConfig
    kind: ClassVar[type[EncoderModel]] = PaintingModel
    optional: ClassVar[tuple[str, ...]] = ("decoder",)  # released files have none
    sizes: ClassVar[str] = " of painter.width and painter.depth"
    shown: ClassVar[tuple[str, ...]] = ("explained",)

    def draw(self, random: Keys, batch: Batch) -> Drawn:
        inputs = self.model.prepare(batch)
        keys = random.named("mask").views(self.cfg.mask.views)
        tokens = self.model.token_count(inputs.values.shape[1:])
        return Drawn(inputs, self.model.draw_mask(keys, tokens))

    def counts(self, drawn: Drawn) -> dict[str, jax.Array]:
        return {"patches": drawn.mask.weight_nu.sum()}

    def loss(
        self,
        params: Tree,
        carried: Tree,
        drawn: Drawn,
        random: Keys,
        whole: Mapping[str, jax.Array],
        step: jax.Array,
    ) -> tuple[jax.Array, Metrics]:
        del carried, step
        (inputs, mask), cfg = drawn, self.cfg
        tokens = self.model.tokens(params, inputs, random.named("tokens"))
        keys = random.named("encoder").views(cfg.mask.views)
        painted_ntp = self.model.paint(params, tokens, mask, keys)
        wanted_btp = patches(inputs.values, cfg.frontend.patch_size, cfg.pixels.normalize)
        wanted_ntp = jnp.repeat(wanted_btp, cfg.mask.views, 0)
        hidden_nt = mask.hidden_nt.astype(jnp.float32)
        error = (jnp.square(painted_ntp - wanted_ntp).mean(-1) * hidden_nt).sum()
        count = hidden_nt.sum()
        return error / whole["patches"], {
            "pixels": (error, count),
            "explained": (1 - error / jnp.maximum(variance(wanted_ntp, hidden_nt), EPS), 1.0),
            "prediction_std": (jnp.sqrt(variance(painted_ntp, hidden_nt) / count), 1.0),
        }

    def check(self, example_shapes: tuple[tuple[int, ...], ...]) -> None:
        encoder.check(self.cfg, example_shapes)
        painter, mask, grid = self.cfg.painter, self.cfg.mask, self.cfg.frontend.grid
        require(mask.hide == "remove", f"mask.hide={mask.hide!r}: objective='mae' needs 'remove'")
        require(
            len(grid) == 2,
            f"objective='mae' paints pixels and needs modality='image', not "
            f"{self.cfg.frontend.modality!r}",
        )
        require_multiple("painter.width", painter.width, "painter.heads", painter.heads)
        require(
            painter.width % 4 == 0,
            f"painter.width={painter.width} is not a multiple of 4, as sin-cos positions need",
        )

    def troubles(self, record: Mapping[str, float], warm: bool) -> dict[str, str]:
        if warm and record["prediction_std"] < 0.01:
            return {
                "predictions": f"the painted pixels hardly vary (std {record['prediction_std']:.4f}"
                "): the decoder answers the same everywhere. Lower optimizer.learning_rate or "
                "lengthen the warm-up."
            }
        return {}

    def arithmetic(self, example_shape: tuple[int, ...]) -> dict[str, float]:
        cfg, painter = self.cfg, self.cfg.painter
        tokens = self.model.token_count(example_shape)
        hidden = masking.hidden_most(cfg.mask, tokens)
        forwards, backwards = cfg.frontend.multiply_adds(example_shape, cfg.trunk.width)
        prefix, pixels = cfg.trunk.prefix_tokens, cfg.frontend.patch_size**2 * example_shape[2]
        seen, every = tokens - hidden + prefix, tokens + prefix
        decoder = (
            seen * cfg.trunk.width * painter.width
            + flops.blocks(painter.depth, every, painter.width, painter.hidden)
            + every * painter.width * pixels
        )
        return {
            "frontend": 2 * (forwards + backwards),
            "encoder": 6 * cfg.mask.views * flops.trunk(cfg.trunk, tokens - hidden),
            "decoder": 6 * cfg.mask.views * decoder,
        }


def variance(x_ntp: jax.Array, weight_nt: jax.Array) -> jax.Array:
    """The sum over weighted patches of their mean squared distance from the mean patch."""
    count = weight_nt.sum()
    mean_p = (x_ntp * weight_nt[:, :, None]).sum((0, 1)) / count
    return (jnp.square(x_ntp - mean_p).mean(-1) * weight_nt).sum()
