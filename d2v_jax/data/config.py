"""What the data room needs to know. Fields: configs/{audio,image,text}.py."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class AudioData:
    source: str
    split: str
    weights: tuple[float, ...]
    temperature: float
    samples: int
    min_samples: int
    buckets: tuple[int, ...]
    threads: int
    workers: int
    max_bad_share: float

    @property
    def example_shape(self) -> tuple[int, ...]:
        return (self.samples,)

    @property
    def example_shapes(self) -> tuple[tuple[int, ...], ...]:
        return tuple((length,) for length in self.buckets or (self.samples,))


@dataclasses.dataclass(frozen=True)
class ImageData:
    source: str
    split: str
    weights: tuple[float, ...]
    temperature: float
    image_size: int
    channels: int
    crop_scale: tuple[float, float]
    crop_ratio: tuple[float, float]
    flip: float
    jitter: float
    resize: str
    threads: int
    workers: int
    max_bad_share: float

    @property
    def example_shape(self) -> tuple[int, ...]:
        return (self.image_size, self.image_size, self.channels)

    @property
    def example_shapes(self) -> tuple[tuple[int, ...], ...]:
        return (self.example_shape,)


@dataclasses.dataclass(frozen=True)
class TextData:
    source: str
    split: str
    weights: tuple[float, ...]
    temperature: float
    column: str
    tokenizer: str
    tokens: int
    blocks: str
    threads: int
    workers: int
    max_bad_share: float

    @property
    def example_shape(self) -> tuple[int, ...]:
        return (self.tokens,)

    @property
    def example_shapes(self) -> tuple[tuple[int, ...], ...]:
        return (self.example_shape,)


DataConfig = AudioData | ImageData | TextData
DATA = {"audio": AudioData, "image": ImageData, "text": TextData}


def batch_sizes(cfg: DataConfig, batch_size: int) -> tuple[int, ...]:
    """Examples in a batch of each length: as much in all as `batch_size` crops of `samples`."""
    buckets = cfg.buckets if isinstance(cfg, AudioData) else ()
    return tuple(batch_size * cfg.samples // length for length in buckets) or (batch_size,)
