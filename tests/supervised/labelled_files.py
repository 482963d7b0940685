"""Labelled pictures in idx files, for the tests beside this one."""

import pathlib
import struct

import numpy as np


def idx_folder(folder: pathlib.Path, classes: int = 3) -> pathlib.Path:
    """60 pictures to learn from and 30 to test, whose brightness tells their class."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(classes)
    for name, count in (("train", 60), ("t10k", 30)):
        labels = (np.arange(count) % classes).astype(np.uint8)
        noise = rng.integers(0, 60, (count, 32, 32))
        images = (noise + 60 * labels[:, None, None] % 190).astype(np.uint8)
        for kind, array in (("images", images), ("labels", labels)):
            header = struct.pack(">BBBB", 0, 0, 8, array.ndim)
            header += struct.pack(f">{array.ndim}I", *array.shape)
            path = folder / f"{name}-{kind}-idx{array.ndim}-ubyte"
            path.write_bytes(header + array.tobytes())
    return folder
