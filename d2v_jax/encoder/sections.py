"""What an encoder is: the sections of a recipe that its parts read (configs/base.py)."""

import dataclasses
from typing import Protocol

from d2v_jax.common.checks import require
from d2v_jax.common.fields import (
    anything,
    below_one,
    not_negative,
    one_of,
    positive,
    require_multiple,
)
from d2v_jax.encoder import masking
from d2v_jax.encoder.masking import MaskConfig
from d2v_jax.frontends.frontend import Frontend, grid_shape
from d2v_jax.nn import initializers
from d2v_jax.nn.recurrent import GATES
from d2v_jax.nn.trunk import REMAT


@dataclasses.dataclass(frozen=True)
class PositionsConfig:
    add: str = one_of("sincos", "conv", "normed_conv", "none")
    bias: str = one_of("alibi", "relative", "relative_per_block", "none")
    conv_layers: int = positive()
    conv_kernel: int = positive()
    conv_groups: int = positive()
    zero_padding: str = one_of("each_layer", "input", "never")


@dataclasses.dataclass(frozen=True)
class TrunkConfig:
    width: int = positive()
    heads: int = positive()
    prenet_depth: int = not_negative()
    depth: int = positive()
    mlp_ratio: float = positive()
    block: str = one_of("post_norm", "pre_norm", "plain_pre_norm", *GATES)
    input_norm: bool = anything()
    output_norm: bool = anything()
    norm_eps: float = positive()
    prefix_tokens: int = not_negative()
    layer_scale: float = not_negative()
    init: str = one_of(*initializers.NAMED)
    input_dropout: float = below_one()
    dropout: float = below_one()
    attention_dropout: float = below_one()
    activation_dropout: float = below_one()
    drop_path: float = below_one()
    drop_path_ramp: str = one_of("trunk", "both")
    layer_drop: float = below_one()
    attention_parts: int = positive(free=True)
    fused_attention: bool = anything(free=True)
    remat: str = one_of(*REMAT, free=True)
    scan: bool = anything(free=True)
    dtype: str = one_of("float32", "bfloat16")

    @property
    def hidden(self) -> int:
        """Units of a block's MLP."""
        return int(self.width * self.mlp_ratio)


class EncoderConfig(Protocol):
    """What a record must have to describe an encoder; objectives with one are such records."""

    frontend: Frontend
    positions: PositionsConfig
    trunk: TrunkConfig
    mask: MaskConfig


def check(cfg: EncoderConfig, example_shapes: tuple[tuple[int, ...], ...]) -> None:
    """Raises `ConfigError` for combinations of the encoder's sections that cannot work."""
    cfg.frontend.check()
    _check_trunk(cfg)
    _check_masks(cfg, example_shapes)


def _check_trunk(cfg: EncoderConfig) -> None:
    trunk, positions, grid = cfg.trunk, cfg.positions, cfg.frontend.grid
    if trunk.block not in GATES:
        require_multiple("trunk.width", trunk.width, "trunk.heads", trunk.heads)
    head = trunk.width // trunk.heads
    require(
        not trunk.fused_attention or (head % 8 == 0 and head <= 128),
        f"trunk.fused_attention=True: cuDNN takes heads of 8, 16, ... 128 channels, not {head} "
        f"(trunk.width / trunk.heads); leave it False",
    )
    require(
        trunk.drop_path_ramp == "trunk" or trunk.prenet_depth < trunk.depth,
        f"trunk.drop_path_ramp={trunk.drop_path_ramp!r} needs trunk.prenet_depth="
        f"{trunk.prenet_depth} below trunk.depth={trunk.depth}",
    )
    relative = positions.bias.startswith("relative")
    require(
        not relative or (len(grid) == 2 and None not in grid),
        f"positions.bias={positions.bias!r} needs tokens on a grid of two known sides, as images "
        f"have; these stand as {shown(grid)}",
    )
    require(
        positions.add != "sincos" or len(grid) > 1,
        f"positions.add={positions.add!r} needs tokens on a grid, as images have; these stand "
        "in a row",
    )
    if positions.add == "sincos":
        parts = 2 * len(grid)
        require(
            trunk.width % parts == 0,
            f"trunk.width={trunk.width} is not a multiple of {parts}, as sin-cos positions need",
        )
    require(
        not relative or trunk.prefix_tokens == 1,
        f"positions.bias={positions.bias!r} needs trunk.prefix_tokens=1 (cls), not "
        f"{trunk.prefix_tokens}",
    )
    around = (positions.add, positions.bias) != ("none", "none") or trunk.prenet_depth
    require(
        trunk.block not in GATES
        or not (around or trunk.prefix_tokens or trunk.input_norm or trunk.output_norm),
        f"trunk.block={trunk.block!r} is a recurrent network, which has no positions, prenet, "
        "prefix tokens or norms around it",
    )
    if positions.add in ("conv", "normed_conv"):
        require_multiple("trunk.width", trunk.width, "positions.conv_groups", positions.conv_groups)


def _check_masks(cfg: EncoderConfig, example_shapes: tuple[tuple[int, ...], ...]) -> None:
    mask, frontend = cfg.mask, cfg.frontend
    if mask.hide == "none":
        return
    require(0 < mask.share < 1, f"mask.share={mask.share} must lie between 0 and 1")
    require(
        mask.hide != "remove" or mask.kind in masking.EXACT,
        f"mask.kind={mask.kind!r} hides a varying number of tokens; mask.hide='remove' needs one "
        f"of {', '.join(masking.EXACT)}",
    )
    require(
        mask.hide == "remove" or mask.views == 1,
        f"mask.views={mask.views}: more than one view needs mask.hide='remove'",
    )
    require(
        mask.hide != "input" or frontend.hides_inputs,
        f"mask.hide='input' replaces ids and needs text, not {frontend.modality}",
    )
    require_multiple("mask.views", mask.views, "mask.micro_views", mask.micro_views)
    for shape in example_shapes:
        tokens = frontend.token_count(shape)
        require(tokens > 1, f"examples of shape {shape} become {tokens} tokens; use longer ones")
        masking.check(mask, grid_shape(frontend.grid, tokens))


def shown(grid: tuple[int | None, ...]) -> str:
    """(None,) -> "a row"; (8, None) -> "8 x t"."""
    if len(grid) == 1:
        return "a row"
    return " x ".join("t" if side is None else str(side) for side in grid)
