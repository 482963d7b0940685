"""What a data2vec system is: the fields the model, the masks, the targets and the loss read.

`configs/{audio,image,text}.py` explain every field; `train/config.py` builds these records from a
recipe.
"""

import dataclasses

from d2v_jax.encoder.config import MaskConfig, PositionsConfig, TrunkConfig
from d2v_jax.frontends.audio import AudioFrontend
from d2v_jax.frontends.image import ImageFrontend
from d2v_jax.frontends.text import TextFrontend

FRONTENDS = {"audio": AudioFrontend, "image": ImageFrontend, "text": TextFrontend}


@dataclasses.dataclass(frozen=True)
class DecoderConfig:
    layers: int
    width: int
    kernel: int
    groups: int
    residual: bool
    hidden: tuple[int, ...]
    init: str
    noise_std: float
    input_dropout: float


@dataclasses.dataclass(frozen=True)
class TargetsConfig:
    blocks: tuple[int, ...]
    site: str
    layer_norms: tuple[str, ...]
    final_norms: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class LossConfig:
    beta: float
    scale: float | None
    cls_weight: float


@dataclasses.dataclass(frozen=True)
class TeacherConfig:
    sees: str
    owns: tuple[str, ...]
    decay_start: float
    decay_end: float
    decay_steps: int


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    modality: str
    frontend: AudioFrontend | ImageFrontend | TextFrontend
    positions: PositionsConfig
    trunk: TrunkConfig
    mask: MaskConfig
    decoder: DecoderConfig
    targets: TargetsConfig
    loss: LossConfig
    teacher: TeacherConfig
