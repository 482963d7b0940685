"""What a data2vec system is: the fields the model, the masks, the targets and the loss read.

`configs/{audio,image,text}.py` explain every field; `train/config.py` builds these records from a
recipe.
"""

import dataclasses

from d2v_jax.frontends.audio import AudioFrontend
from d2v_jax.frontends.image import ImageFrontend
from d2v_jax.frontends.text import TextFrontend

FRONTENDS = {"audio": AudioFrontend, "image": ImageFrontend, "text": TextFrontend}


@dataclasses.dataclass(frozen=True)
class PositionsConfig:
    add: str
    bias: str
    conv_layers: int
    conv_kernel: int
    conv_groups: int
    zero_padding: str


@dataclasses.dataclass(frozen=True)
class TrunkConfig:
    width: int
    heads: int
    prenet_depth: int
    depth: int
    mlp_ratio: float
    block: str
    input_norm: bool
    output_norm: bool
    norm_eps: float
    prefix_tokens: int
    layer_scale: float
    init: str
    input_dropout: float
    dropout: float
    attention_dropout: float
    drop_path: float
    layer_drop: float
    remat: str
    scan: bool
    dtype: str

    @property
    def hidden(self) -> int:
        """Units of a block's MLP."""
        return int(self.width * self.mlp_ratio)


@dataclasses.dataclass(frozen=True)
class MaskConfig:
    hide: str
    kind: str
    share: float
    adjust: float
    block: int
    neighbours: int
    views: int


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
