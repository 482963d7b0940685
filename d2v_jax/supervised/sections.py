"""What a fine-tuned encoder is: its own sections, a head, and what training does to the inputs.

`configs/supervised.py` explains every field.
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
from d2v_jax.supervised import heads


@dataclasses.dataclass(frozen=True)
class HeadConfig:
    kind: str = one_of(*heads.TRAINED)
    outputs: int = positive()
    dropout: float = below_one()
    init: str = one_of(*heads.INITIAL)
    scale: float = positive()
    norm_eps: float = positive()
    layers: str = one_of("last", "weighted")
    queries: int = positive()
    blank: int = not_negative()


@dataclasses.dataclass(frozen=True)
class AugmentConfig:
    noise_std: float = not_negative()
    channel_share: float = share()
    channel_block: int = positive()
    mixup: float = not_negative()
    cutmix: float = not_negative()
    mix_share: float = share()
    cutmix_share: float = share()
    erase: float = share()
    waves: bool = anything()
    smoothing: float = below_one()


@dataclasses.dataclass(frozen=True)
class StartConfig:
    encoder: str = one_of("student", "teacher", "untrained")
    head: str = one_of("new", "checkpoint")


@dataclasses.dataclass(frozen=True)
class SupervisedConfig:
    frontend: Frontend
    positions: PositionsConfig
    trunk: TrunkConfig
    mask: MaskConfig
    augment: AugmentConfig
    head: HeadConfig
    start: StartConfig


def check(cfg: SupervisedConfig, example_shapes: tuple[tuple[int, ...], ...]) -> None:
    """Raises `ConfigError` for combinations that cannot work."""
    encoder.check(cfg, example_shapes)
    require_one_of("mask.hide", cfg.mask.hide, ("replace", "noise", "none"))
    require(
        cfg.mask.views == 1,
        f"mask.views={cfg.mask.views}: an example with a label has one view",
    )
    require(
        cfg.head.kind != "ctc" or cfg.head.blank < cfg.head.outputs,
        f"head.blank={cfg.head.blank} is none of the head.outputs={cfg.head.outputs}",
    )
    require_multiple("trunk.width", cfg.trunk.width, "head.queries", cfg.head.queries)
    augment = cfg.augment
    require(
        augment.channel_share == 0 or augment.channel_block <= cfg.trunk.width,
        f"augment.channel_block={augment.channel_block} exceeds trunk.width={cfg.trunk.width}",
    )
    require(
        augment.cutmix == 0 or len(cfg.frontend.grid) == 2,
        f"augment.cutmix={augment.cutmix} cuts rectangles and needs images",
    )
