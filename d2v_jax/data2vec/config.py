"""What a data2vec system is: the fields the model, the masks, the targets and the loss read.

`configs/image.py` explains every field; `train/config.py` builds these records from a recipe.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class FrontendConfig:
    patch_size: int
    image_size: int
    channels: int
    normalize: str
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def grid(self) -> int:
        """Patches along one side."""
        return self.image_size // self.patch_size


@dataclasses.dataclass(frozen=True)
class TrunkConfig:
    width: int
    heads: int
    prenet_depth: int
    depth: int
    mlp_ratio: float
    norm_eps: float
    prefix_tokens: int
    dtype: str


@dataclasses.dataclass(frozen=True)
class MaskConfig:
    kind: str
    share: float
    adjust: float
    block: int
    views: int


@dataclasses.dataclass(frozen=True)
class DecoderConfig:
    width: int
    kernel: int
    groups: int
    layers: int
    noise_std: float


@dataclasses.dataclass(frozen=True)
class TargetsConfig:
    layers: int
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
    owns: tuple[str, ...]
    decay_start: float
    decay_end: float
    decay_steps: int


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    modality: str
    frontend: FrontendConfig
    trunk: TrunkConfig
    mask: MaskConfig
    decoder: DecoderConfig
    targets: TargetsConfig
    loss: LossConfig
    teacher: TeacherConfig
