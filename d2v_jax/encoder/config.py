"""What an encoder is: the fields its parts read. `configs/base.py` explains each."""

import dataclasses


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
