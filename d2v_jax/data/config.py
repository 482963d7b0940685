"""What the data room needs to know."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Where examples come from and how they are cut. Fields: configs/image.py."""

    source: str
    split: str
    image_size: int
    channels: int
    crop_scale: tuple[float, float]
    crop_ratio: tuple[float, float]
    flip: float
    threads: int
    workers: int
    max_bad_share: float
