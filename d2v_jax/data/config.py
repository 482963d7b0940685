"""What the data room needs to know. Fields: configs/{audio,image,text}.py."""

import dataclasses

from d2v_jax.common.fields import anything, not_negative, one_of, positive, share


@dataclasses.dataclass(frozen=True)
class AudioData:
    source: str = anything()
    split: str = anything()
    weights: tuple[float, ...] = anything()
    temperature: float = positive()
    samples: int = positive()
    min_samples: int = not_negative()
    buckets: tuple[int, ...] = anything()
    threads: int = positive(free=True)
    workers: int = not_negative(free=True)
    max_bad_share: float = share(free=True)

    @property
    def example_shape(self) -> tuple[int, ...]:
        return (self.samples,)

    @property
    def example_shapes(self) -> tuple[tuple[int, ...], ...]:
        return tuple((length,) for length in self.buckets or (self.samples,))


@dataclasses.dataclass(frozen=True)
class ImageData:
    source: str = anything()
    split: str = anything()
    weights: tuple[float, ...] = anything()
    temperature: float = positive()
    image_size: int = positive()
    channels: int = anything()
    crop_scale: tuple[float, float] = anything()
    crop_ratio: tuple[float, float] = anything()
    flip: float = share()
    jitter: float = not_negative()
    resize: str = one_of("exact", "fast")
    threads: int = positive(free=True)
    workers: int = not_negative(free=True)
    max_bad_share: float = share(free=True)

    @property
    def example_shape(self) -> tuple[int, ...]:
        return (self.image_size, self.image_size, self.channels)

    @property
    def example_shapes(self) -> tuple[tuple[int, ...], ...]:
        return (self.example_shape,)


@dataclasses.dataclass(frozen=True)
class TextData:
    source: str = anything()
    split: str = anything()
    weights: tuple[float, ...] = anything()
    temperature: float = positive()
    column: str = anything()
    tokenizer: str = anything()
    tokens: int = positive()
    blocks: str = one_of("contiguous", "documents")
    threads: int = positive(free=True)
    workers: int = not_negative(free=True)
    max_bad_share: float = share(free=True)

    @property
    def example_shape(self) -> tuple[int, ...]:
        return (self.tokens,)

    @property
    def example_shapes(self) -> tuple[tuple[int, ...], ...]:
        return (self.example_shape,)


DataConfig = AudioData | ImageData | TextData
DATA = {"audio": AudioData, "image": ImageData, "text": TextData}


def data_class(modality: str) -> type:
    """The data section's record."""
    return DATA[modality]


def batch_sizes(cfg: DataConfig, batch_size: int) -> tuple[int, ...]:
    """Examples in a batch of each length: as much in all as `batch_size` crops of `samples`."""
    buckets = cfg.buckets if isinstance(cfg, AudioData) else ()
    return tuple(batch_size * cfg.samples // length for length in buckets) or (batch_size,)
