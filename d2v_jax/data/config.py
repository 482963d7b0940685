"""For callers that do not ask the record yet: the three records by their names."""

from d2v_jax.data.audio.data import AudioData
from d2v_jax.data.image.data import ImageData
from d2v_jax.data.modality import Data
from d2v_jax.data.text.data import TextData

DataConfig = Data
DATA = {"audio": AudioData, "image": ImageData, "text": TextData}


def batch_sizes(cfg: Data, batch_size: int) -> tuple[int, ...]:
    """Examples in a batch of each length."""
    return cfg.batch_sizes(batch_size)
