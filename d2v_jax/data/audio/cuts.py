"""Parts of files, as fairseq writes them: `a.wav:0:16000` (samples), `x.zip:1024:32044` (bytes)."""

import pathlib
import re
from typing import NamedTuple

from d2v_jax.data.audio.sound_files import LARGE, Part, Stored, header
from d2v_jax.data.records import BadRecord
from d2v_jax.data.stores.folder import file_data

PART = re.compile(r"(.+):(\d+):(\d+)")
PACKED = ".zip"  # stored without compression, so that a file in it is a run of bytes


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
        part = _part(root, cut)
        header(part)
        return part
    except BadRecord as bad:
        raise BadRecord(bad.reason, name) from bad


def frames_of(root: pathlib.Path, cut: Cut) -> tuple[int | None, int]:
    """Samples per channel and per second of the part; raises as `read` does."""
    try:
        if cut.packed:
            return header(_part(root, cut))
        frames, rate = header(root / cut.name)
    except BadRecord as bad:
        raise BadRecord(bad.reason, cut.name) from bad
    return cut.length or frames, rate


def _part(root: pathlib.Path, cut: Cut) -> Part:
    return Part(root / cut.name, cut.first, cut.length, cut.packed)
