"""What the data room needs to know. Fields: configs/{audio,image,text}.py."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class AudioData:
    source: str
    split: str
    samples: int
    min_samples: int
    threads: int
    workers: int
    max_bad_share: float

    @property
    def example_shape(self) -> tuple[int, ...]:
        return (self.samples,)


@dataclasses.dataclass(frozen=True)
class ImageData:
    source: str
    split: str
    image_size: int
    channels: int
    crop_scale: tuple[float, float]
    crop_ratio: tuple[float, float]
    flip: float
    jitter: float
    threads: int
    workers: int
    max_bad_share: float

    @property
    def example_shape(self) -> tuple[int, ...]:
        return (self.image_size, self.image_size, self.channels)


@dataclasses.dataclass(frozen=True)
class TextData:
    source: str
    split: str
    tokenizer: str
    tokens: int
    blocks: str
    threads: int
    workers: int
    max_bad_share: float

    @property
    def example_shape(self) -> tuple[int, ...]:
        return (self.tokens,)


DataConfig = AudioData | ImageData | TextData
DATA = {"audio": AudioData, "image": ImageData, "text": TextData}
