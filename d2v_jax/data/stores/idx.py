"""Pictures and labels as MNIST and its kin are given away: a folder of idx files."""

import gzip
import hashlib
import pathlib
import re

import numpy as np

from d2v_jax.common.checks import UserError
from d2v_jax.data.records import Record, fingerprint_of
from d2v_jax.data.sources import only_train

NAME = re.compile(r"(\w+)-(images)[-.]idx3-ubyte(\.gz)?")
TEST = "t10k"  # what MNIST calls its test split
UBYTE = 8  # the code of unsigned bytes


def looks_idx(source: str) -> bool:
    """Whether `source` is a folder with such files."""
    return bool(splits(source))


def splits(source: str) -> dict[str, pathlib.Path]:
    """The files of pictures by split."""
    folder, found = pathlib.Path(source).expanduser(), {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if match := NAME.fullmatch(path.name):
            found["test" if match[1] == TEST else match[1]] = path
    return found


class Idx:
    """One split, held in memory: SPLIT-images-idx3-ubyte and SPLIT-labels-idx1-ubyte, or .gz.

    Classes are called by their numbers.
    """

    def __init__(self, source: str, split: str):
        """Raises `UserError` where files are missing or damaged."""
        folder = pathlib.Path(source).expanduser()
        known = splits(source)
        only_train(source, split, tuple(known))
        images = known[split]
        labels = folder / images.name.replace("images", "labels").replace("idx3", "idx1")
        self._images_nyx = _read(images, 3)
        self._labels_n = _read(labels, 1)
        if len(self._images_nyx) != len(self._labels_n):
            raise UserError(
                f"{folder}: {images.name} has {len(self._images_nyx)} pictures, {labels.name} "
                f"{len(self._labels_n)} labels; they are not of one set"
            )
        self.class_names = tuple(map(str, range(int(self._labels_n.max()) + 1)))
        digest = hashlib.sha256(self._images_nyx[:1000].tobytes()).hexdigest()
        self.fingerprint = fingerprint_of(("idx", split, self._images_nyx.shape, digest))
        self._where = f"{images.name} record"

    def __len__(self) -> int:
        return len(self._labels_n)

    def name(self, index: int) -> str:
        """That of record `index`."""
        return f"{self._where} {index}"

    def label(self, index: int) -> int:
        """The class of record `index`."""
        return int(self._labels_n[index])

    def read(self, index: int) -> Record:
        return Record(self._images_nyx[index], self.label(index), self.name(index))


def _read(path: pathlib.Path, sides: int) -> np.ndarray:
    """uint8 with so many sides."""
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rb") as file:
            data = file.read()
    except (OSError, EOFError) as error:
        raise UserError(f"{path}: cannot be read ({error}); fetch it again") from None
    size = 4 + 4 * sides
    header = np.frombuffer(data[:size].ljust(size, b"\0"), ">u4")
    if header[0] != (UBYTE << 8) + sides:
        raise UserError(f"{path}: is no idx file of bytes with {sides} sides; fetch it again")
    shape = tuple(map(int, header[1:]))
    values = np.frombuffer(data, np.uint8, offset=size)
    if values.size != int(np.prod(shape)) or not values.size:
        raise UserError(
            f"{path}: promises {'x'.join(map(str, shape))} values and has {values.size}; fetch "
            "it again"
        )
    return values.reshape(shape)
