"""Parts of files, as fairseq writes them: `a.wav:0:16000` (samples), `x.zip:1024:32044` (bytes)."""

import io
import pathlib
import re
from typing import NamedTuple

import numpy as np
import soundfile

from d2v_jax.data.audio.sound_files import LARGE, Stored, header, opened
from d2v_jax.data.records import BadRecord
from d2v_jax.data.stores.folder import file_data

PART = re.compile(r"(.+):(\d+):(\d+)")
PACKED = ".zip"  # stored without compression, so that a file in it is a run of bytes
KEPT = {"PCM_16": "int16", "PCM_24": "int32", "PCM_32": "int32", "DOUBLE": "float64"}


class Cut(NamedTuple):
    """`length` samples (of a .zip bytes) from `first` on of the file `name`; 0: all of it."""

    name: str
    first: int = 0
    length: int = 0

    @property
    def packed(self) -> bool:
        return self.length > 0 and self.name.lower().endswith(PACKED)


def named(root: pathlib.Path, name: str) -> Cut:
    """What a row means by `name`: a file with colons in its own name is that file."""
    found = PART.fullmatch(name)
    if not found or int(found[3]) == 0 or (root / name).exists():
        return Cut(name)
    return Cut(found[1], int(found[2]), int(found[3]))


def read(root: pathlib.Path, cut: Cut, name: str) -> Stored:
    """A sound file of the part alone. Raises `BadRecord` where there is no such part."""
    if not cut.length:
        return file_data(root, cut.name, LARGE)
    try:
        return _packed(root, cut) if cut.packed else _samples(root, cut)
    except OSError as error:
        raise BadRecord(error.strerror or str(error), name) from error
    except BadRecord as bad:
        raise BadRecord(bad.reason, name) from bad


def frames_of(root: pathlib.Path, cut: Cut) -> tuple[int | None, int]:
    """Samples per channel and per second of the part; raises as `read` does."""
    try:
        if cut.packed:
            return header(_packed(root, cut))
        frames, rate = header(root / cut.name)
    except OSError as error:
        raise BadRecord(error.strerror or str(error), cut.name) from error
    except BadRecord as bad:
        raise BadRecord(bad.reason, cut.name) from bad
    return cut.length or frames, rate


def _packed(root: pathlib.Path, cut: Cut) -> bytes:
    with open(root / cut.name, "rb") as file:
        file.seek(cut.first)
        data = file.read(cut.length)
    if len(data) < cut.length:
        raise BadRecord(f"{cut.name} ends {cut.length - len(data)} bytes before the part does")
    return data


def _samples(root: pathlib.Path, cut: Cut) -> bytes:
    with opened(root / cut.name) as file:
        rate, kind = file.samplerate, KEPT.get(file.subtype, "float32")
        # What holds every value of the original: the part is decoded as the whole would be.
        stored = file.subtype if file.subtype in KEPT else "FLOAT"
        file.seek(min(cut.first, file.frames))
        wave = np.asarray(file.read(cut.length, kind))
    if len(wave) < cut.length:
        raise BadRecord(f"{cut.name} ends {cut.length - len(wave)} samples before the part does")
    buffer = io.BytesIO()
    soundfile.write(buffer, wave, rate, format="WAV", subtype=stored)
    return buffer.getvalue()
