"""What a data2vec system is: an encoder's sections, and those of data2vec alone.

`configs/base.py` explains every field.
"""

import dataclasses

from d2v_jax.common.checks import require
from d2v_jax.common.fields import (
    anything,
    below_one,
    not_negative,
    one_of,
    positive,
    require_multiple,
    require_one_of,
    share,
)
from d2v_jax.encoder import sections as encoder
from d2v_jax.encoder.masking import MaskConfig
from d2v_jax.encoder.sections import PositionsConfig, TrunkConfig
from d2v_jax.frontends.frontend import Frontend
from d2v_jax.nn import initializers

# What a teacher may own: the top level of the tree.
PARTS = ("frontend", "positions", "mask", "prefix", "prenet", "trunk", "decoder")


@dataclasses.dataclass(frozen=True)
class DecoderConfig:
    layers: int = not_negative()
    width: int = positive()
    kernel: int = anything()
    groups: int = positive()
    residual: bool = anything()
    hidden: tuple[int, ...] = anything()
    init: str = one_of("torch", *initializers.NAMED)
    noise_std: float = not_negative()
    input_dropout: float = below_one()


@dataclasses.dataclass(frozen=True)
class TargetsConfig:
    blocks: tuple[int, ...] = anything()
    site: str = one_of("ffn", "block")
    layer_norms: tuple[str, ...] = anything()
    final_norms: tuple[str, ...] = anything()


@dataclasses.dataclass(frozen=True)
class LossConfig:
    beta: float = not_negative()
    scale: float | None = anything()
    cls_weight: float = not_negative()


@dataclasses.dataclass(frozen=True)
class TeacherConfig:
    sees: str = one_of("tokens", "inputs", "hidden")
    owns: tuple[str, ...] = anything()
    starts_as: str = one_of("checkpoint", "student")
    decay_start: float = share()
    decay_end: float = share()
    decay_steps: int = not_negative()


@dataclasses.dataclass(frozen=True)
class Data2VecConfig:
    frontend: Frontend
    positions: PositionsConfig
    trunk: TrunkConfig
    mask: MaskConfig
    decoder: DecoderConfig
    targets: TargetsConfig
    loss: LossConfig
    teacher: TeacherConfig


def check(cfg: Data2VecConfig, example_shapes: tuple[tuple[int, ...], ...]) -> None:
    """Raises `ConfigError` for combinations that cannot work."""
    encoder.check(cfg, example_shapes)
    require_one_of("mask.hide", cfg.mask.hide, ("remove", "replace", "input"))
    _check_decoder(cfg)
    _check_targets(cfg)
    _check_teacher(cfg)


def _check_decoder(cfg: Data2VecConfig) -> None:
    decoder, trunk = cfg.decoder, cfg.trunk
    if decoder.layers:
        require(decoder.kernel > 0, f"decoder.kernel={decoder.kernel} must be positive")
        require_multiple("trunk.width", trunk.width, "decoder.groups", decoder.groups)
        require_multiple("decoder.width", decoder.width, "decoder.groups", decoder.groups)
    require(
        all(width > 0 for width in decoder.hidden),
        f"decoder.hidden={decoder.hidden} must be positive widths",
    )


def _check_targets(cfg: Data2VecConfig) -> None:
    targets, trunk = cfg.targets, cfg.trunk
    blocks, last = targets.blocks, trunk.depth - 1
    different = len(blocks) > 0 and len(set(blocks)) == len(blocks)
    require(
        different and all(0 <= block <= last for block in blocks),
        f"targets.blocks={blocks} must be different numbers from 0 to trunk.depth - 1 = {last}",
    )
    for norm in (*targets.layer_norms, *targets.final_norms):
        require_one_of("targets norms", norm, ("instance", "layer"))
    scale, cls = cfg.loss.scale, cfg.loss.cls_weight
    require(
        scale is None or scale > 0,
        f"loss.scale={scale} must be positive, or unset for 1/sqrt(width)",
    )
    require(
        cls == 0 or trunk.prefix_tokens > 0,
        f"loss.cls_weight={cls} needs trunk.prefix_tokens >= 1",
    )


def _check_teacher(cfg: Data2VecConfig) -> None:
    teacher, frontend = cfg.teacher, cfg.frontend
    require(
        teacher.sees != "hidden" or frontend.hides_inputs,
        f"teacher.sees='hidden' pads ids and needs text, not {frontend.modality}",
    )
    require(
        cfg.mask.hide != "input" or teacher.sees != "tokens",
        "teacher.sees='tokens' would show the teacher `<mask>`; with mask.hide='input' it must "
        "be 'inputs' or 'hidden'",
    )
    for part in teacher.owns:
        require_one_of("teacher.owns", part, PARTS)
    require(
        "trunk" in teacher.owns,
        f"teacher.owns={teacher.owns} must include 'trunk', whose layers are the targets",
    )
    require(
        "frontend" not in teacher.owns or teacher.sees != "tokens",
        f"teacher.owns={teacher.owns} has a frontend that teacher.sees='tokens' never uses; "
        "set teacher.sees='inputs' or leave 'frontend' out",
    )
