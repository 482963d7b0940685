"""builtin:photos: sixteen grey photographs, micrographs and textures, no download.

They come inside scikit-image's wheel. Pretraining and probe training see the left 70 % of each
photo's width, probe testing the right 30 %; the label is the photo.
"""

import importlib.util
import pathlib

import numpy as np
from PIL import Image

from d2v_jax.common.checks import UserError, require
from d2v_jax.data.records import Record, fingerprint_of

NAMES = (
    "astronaut",
    "brick",
    "camera",
    "cell",
    "chelsea",
    "coffee",
    "coins",
    "grass",
    "gravel",
    "hubble_deep_field",
    "ihc",
    "moon",
    "motorcycle_left",
    "page",
    "retina",
    "rocket",
)
RECORDS = len(NAMES) * 4096
TESTS = len(NAMES) * 128
# Side of a pretraining window, in sides of the final image: leaves the random crop room to
# choose a place and a magnification, and is still cheap to resize.
WINDOW = 1.5


def load() -> tuple[np.ndarray, ...]:
    """The photos in the order of `NAMES`, each uint8 [y, x]."""
    # Files are read, not skimage.data's functions called: those may reach for the network.
    spec = importlib.util.find_spec("skimage")
    if spec is None or spec.origin is None:
        raise UserError("builtin:photos needs scikit-image: python -m pip install scikit-image")
    folder = pathlib.Path(spec.origin).parent / "data"
    return tuple(_grey(folder, name) for name in NAMES)


def _grey(folder: pathlib.Path, name: str) -> np.ndarray:
    for suffix in (".png", ".jpg"):
        path = folder / f"{name}{suffix}"
        if path.is_file():
            with Image.open(path) as picture:
                return np.array(picture.convert("L"))
    raise UserError(
        f"builtin:photos: this scikit-image does not carry the photo {name!r} in {folder}; "
        "install one that does: python -m pip install 'scikit-image>=0.25'"
    )


def _left(photo_yx: np.ndarray) -> int:
    """Columns that pretraining and probe training may see."""
    return photo_yx.shape[1] * 7 // 10


class PhotoWindows:
    """Square windows of the photos' left parts; record i shows photo i % 16.

    Of the split "test" they lie in the right parts, and are as large as an image.
    """

    class_names = NAMES

    def __init__(self, image_size: int, split: str = "train"):
        self._photos = load()
        self._test = split == "test"
        self._side = image_size if self._test else round(WINDOW * image_size)
        self._count = TESTS if self._test else RECORDS
        shapes = [photo.shape for photo in self._photos]
        test = ("test",) if self._test else ()
        self.fingerprint = fingerprint_of(
            ("builtin:photos", *test, self._count, self._side, *shapes)
        )

    def __len__(self) -> int:
        return self._count

    def name(self, index: int) -> str:
        """That of record `index`."""
        which = "test window" if self._test else "window"
        return f"builtin:photos {NAMES[self.label(index)]} {which} {index}"

    def label(self, index: int) -> int:
        """Which photo it is."""
        return index % len(NAMES)

    def read(self, index: int) -> Record:
        label = self.label(index)
        photo_yx = self._photos[label]
        edge = _left(photo_yx)
        part_yx = photo_yx[:, edge:] if self._test else photo_yx[:, :edge]
        height, width = part_yx.shape
        side = min(self._side, height, width)
        rng = np.random.Generator(np.random.Philox(key=[index, 1] if self._test else index))
        y = int(rng.integers(height - side + 1))
        x = int(rng.integers(width - side + 1))
        return Record(part_yx[y : y + side, x : x + side], label, self.name(index))


def probe_set(split: str, image_size: int, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Crops at native resolution, as many of each photo (to within one).

    `split` "train" draws from the left part of each photo, "test" from the right part.
    Returns images uint8 [n, y, x, 1] and labels int32 [n], n = `count`.
    """
    require(split in ("train", "test"), f"split={split!r}: builtin:photos has train and test")
    photos = load()
    edges = [(0, _left(p)) if split == "train" else (_left(p), p.shape[1]) for p in photos]
    most = min(min(p.shape[0], hi - lo) for p, (lo, hi) in zip(photos, edges))
    require(
        1 <= image_size <= most,
        f"data.image_size={image_size}: builtin:photos can be probed with crops of at most "
        f"{most} pixels (the smallest photo's {split} part); use a smaller data.image_size or "
        "another --source",
    )
    rng = np.random.Generator(np.random.Philox(key=[seed, split == "test"]))
    images_nyxc = np.empty((count, image_size, image_size, 1), np.uint8)
    labels_n = np.arange(count, dtype=np.int32) % len(NAMES)
    for n, label in enumerate(labels_n):
        photo_yx, (low, high) = photos[label], edges[label]
        y = rng.integers(photo_yx.shape[0] - image_size + 1)
        x = rng.integers(low, high - image_size + 1)
        images_nyxc[n, :, :, 0] = photo_yx[y : y + image_size, x : x + image_size]
    return images_nyxc, labels_n
