"""Pictures and sounds as prepared folders hold them: a tf.train.Example each."""

import io
from typing import Any

import numpy as np
import soundfile
from PIL import Image

from d2v_jax.data.audio import waves
from d2v_jax.data.audio.sound_files import RATE, Part, Stored, is_exact, length_known, opened
from d2v_jax.data.image import jpeg, pictures
from d2v_jax.data.records import BadRecord, Record

QUALITY = 95  # of JPEG files made here
GREY = ("1", "L", "LA", "La")  # modes of Pillow, and those that begin with I
CONTAINERS = ("WAV", "WAVEX", "FLAC")


def picture_example(record: Record, max_side: int | None, most: int) -> tuple[bytes, int]:
    """Returns the serialized record, and 0.

    A file stays as it is unless its longer side has more than `max_side` pixels: then it becomes
    a smaller JPEG. Pixels without a file become a PNG. Raises `BadRecord` for what cannot be
    decoded completely.
    """
    try:
        data = _picture(record.data, max_side, most)
    except BadRecord as bad:
        raise BadRecord(bad.reason, record.name) from bad
    return serialized(record, image=data), 0


def _picture(data: bytes | np.ndarray, max_side: int | None, most: int) -> bytes:
    size = jpeg.size_of(data, most)
    if size is not None and (max_side is None or max(size) <= max_side):
        if jpeg.pixels(data, 3) is None:
            pictures.decode(data, 3, most)  # Pillow knows which faults do not matter
        return data
    picture = pictures.decode(data, 3, most)
    if _is_grey(data):
        picture = pictures.decode(data, 1, most)
    if max_side is not None and max(picture.size) > max_side:
        factor = max_side / max(picture.size)
        sides = tuple(max(1, round(side * factor)) for side in picture.size)
        picture = picture.resize(sides, Image.Resampling.BICUBIC)
        return _encoded(picture, "JPEG", quality=QUALITY)
    return data if isinstance(data, bytes) else _encoded(picture, "PNG")


def _is_grey(data: bytes | np.ndarray) -> bool:
    if not isinstance(data, bytes):
        return data.ndim == 2 or data.shape[2] == 1
    mode = pictures.opened(data).mode
    return mode in GREY or mode.startswith("I")


def _encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def sound_example(record: Record) -> tuple[bytes, int]:
    """Returns the serialized record, and its samples at 16 kHz.

    A wav or flac file of 16 kHz, mono and 16 bits stays as it is; everything else becomes such a
    flac file, of the samples that a crop is taken from. What standardises a crop is stored, so
    crops are those of `record`. Raises `BadRecord` for what cannot be decoded completely.
    """
    try:
        standard = record.standard or waves.standard_of(record.data)
        data, samples = _sound(record.data, standard.fit)
    except BadRecord as bad:
        raise BadRecord(bad.reason, record.name) from bad
    offset, scale = float(standard.offset), float(standard.scale)
    example = serialized(record, audio=data, samples=samples, offset=offset, scale=scale)
    return example, samples


def _sound(data: Stored | np.ndarray, fit: float) -> tuple[bytes, int]:
    if not isinstance(data, np.ndarray) and _stays(data):
        samples = sum(len(piece_s) for piece_s in waves.pieces(data))
        return data if isinstance(data, bytes) else data.read_bytes(), samples
    buffer, samples = io.BytesIO(), 0
    with soundfile.SoundFile(buffer, "w", RATE, 1, "PCM_16", format="FLAC") as file:
        for piece_s in waves.pieces(data):
            file.write(waves.in_16_bits(piece_s, fit))
            samples += len(piece_s)
    return buffer.getvalue(), samples


def _stays(data: Stored) -> bool:
    if isinstance(data, Part):
        return False
    with opened(data) as file:
        return file.format in CONTAINERS and is_exact(file) and length_known(file.frames)


def serialized(record: Record, **features: bytes | int | float) -> bytes:
    """A tf.train.Example of `features`, and of the record's name, label and text."""
    # Late, because importing the package takes about a second.
    from tensorflow_datasets.proto import tf_example_pb2

    features["name"] = record.name.encode(errors="surrogateescape")
    if record.label is not None:
        features["label"] = record.label
    if record.text is not None:
        features["text"] = record.text.encode(errors="replace")
    message = tf_example_pb2.Example()
    for key, value in features.items():
        feature = message.features.feature[key]
        match value:
            case bytes():
                feature.bytes_list.value.append(value)
            case float():
                feature.float_list.value.append(value)
            case _:
                feature.int64_list.value.append(value)
    # The order of features would follow a seed of the process otherwise.
    return message.SerializeToString(deterministic=True)
