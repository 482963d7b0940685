"""Images held whole in memory with their labels."""

import dataclasses
import logging
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from d2v_jax.common.checks import UserError
from d2v_jax.data.builtin.photos import NAMES, probe_set
from d2v_jax.data.image.pictures import central
from d2v_jax.data.labelled import baselines
from d2v_jax.data.labelled.chosen import share
from d2v_jax.data.labelled.exams import TRAIN_SHARE, Encode, Exam, Pair, Task, require_split
from d2v_jax.data.records import BadRecord, Source
from d2v_jax.data.sources import PHOTOS
from d2v_jax.data.stores import tfds_source
from d2v_jax.data.stores.folder import Folder

log = logging.getLogger("d2v")

CHUNK = 256  # pictures whose tokens are held at once
PHOTO_CROPS = 2048  # of builtin:photos, where no count is asked for


class Images(Protocol):
    """What is asked of the `data` section of a recipe of images."""

    source: str
    image_size: int
    channels: int
    central_crop: float
    most_pixels: int

    def records(self, split: str) -> Source:
        """The records of `source` in a split of it."""
        ...

    def test_splits(self, source: str) -> tuple[str, ...]: ...


@dataclasses.dataclass(frozen=True)
class LabelledImages:
    """Images uint8 [n, y, x, c], labels int32 [n], their names, and record ids int32 [n]."""

    images: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    ids: np.ndarray


def exam(data: Images, patch: int, count: int, seed: int) -> Exam:
    """Which class is a picture of, and which one is a single patch of it from?

    At most `count` pictures to learn from, and as many to test. One patch of each, of `patch`
    pixels a side, is asked about, wherever it lies in its row-by-row order.
    """
    parts = [labelled_images(data, split, count, seed) for split in ("train", "test")]
    labels = tuple(part.labels for part in parts)
    rng = np.random.Generator(np.random.Philox(key=[seed, 1]))
    places = [rng.integers((data.image_size // patch) ** 2, size=len(part.ids)) for part in parts]

    def features(encode: Encode | None) -> list[Pair]:
        sides = []
        for part, place_n in zip(parts, places):
            if encode is None:
                rows = (baselines.pixels(part.images), _patches(part.images, place_n, patch))
            else:
                rows = _pooled(encode, part.images, place_n)
            sides.append(rows)
        return list(zip(*sides))

    tasks = (Task("class", "images", labels), Task("patch", "patches", labels))
    return Exam("pixels", tasks, features)


def _patches(images_byxc: np.ndarray, place_b: np.ndarray, patch: int) -> np.ndarray:
    """Pixels [b, patch * patch * c] of a patch of each picture."""
    count, side, _, channels = images_byxc.shape
    cells = images_byxc.reshape(count, side // patch, patch, side // patch, patch, channels)
    row_b, column_b = np.divmod(place_b, side // patch)
    return baselines.pixels(cells[np.arange(count), row_b, :, column_b])


def _pooled(encode: Encode, images: np.ndarray, place_n: np.ndarray) -> tuple[np.ndarray, ...]:
    """The mean of each picture's tokens, and the one at its place: [n, d] each."""
    means, ones = [], []
    for start in range(0, len(images), CHUNK):
        some = slice(start, start + CHUNK)
        tokens_btd = encode(images[some], pool=None)
        means.append(tokens_btd.mean(1))
        ones.append(tokens_btd[np.arange(len(tokens_btd)), place_n[some]])
    return np.concatenate(means), np.concatenate(ones)


def labelled_images(data: Images, split: str, count: int | None, seed: int) -> LabelledImages:
    """At most `count` images (None: all) of `split`, "train" or "test", with their labels.

    builtin:photos: crops of the left or right parts. TFDS and idx files: the split "train", or the
    first of "validation" and "test". Others: a fixed 70/30 division by the hash of their names.
    Images are cut centrally; `seed` picks which ones. Unreadable records are left out with a
    warning. Raises `UserError` where there are no labels.
    """
    require_split(split)
    if data.source == PHOTOS:
        images, labels = probe_set(split, data.image_size, count or PHOTO_CROPS, seed)
        if data.channels == 3:
            images = np.repeat(images, 3, axis=3)
        return LabelledImages(images, labels, NAMES, np.arange(len(labels), dtype=np.int32))
    source, ids = _side(data, split)
    if not len(ids):
        raise UserError(
            f"{data.source!r} is too small: none of its {len(source)} records falls to the "
            f"{split} part; add images, or probe on another --source"
        )
    order = np.random.Generator(np.random.Philox(key=[seed, split == "test"])).permutation(ids)
    return _read(source, order, len(ids) if count is None else count, data)


def _side(data: Images, split: str) -> tuple[Source, np.ndarray]:
    """The source and the ids of its records that belong to `split`."""
    own = data.test_splits(data.source)
    if own or data.source.startswith(tfds_source.PREFIX):
        if split == "test" and not own:
            raise UserError(
                f"{data.source!r} has no split called validation or test, so there is nothing to "
                "test on; probe on another --source"
            )
        source = data.records("train" if split == "train" else own[0])
        return source, np.arange(len(source))
    # The split that pretraining read does not matter here, and only TFDS knows others.
    source = data.records("train")
    if isinstance(source, Folder):
        if source.class_names is None:
            raise UserError(_unlabelled(data.source))
        names: Sequence[str] = source.names
    else:
        names = [str(index) for index in range(len(source))]
    train = np.array([share(name) < TRAIN_SHARE for name in names])
    return source, np.flatnonzero(train if split == "train" else ~train)


def _read(source: Source, order: np.ndarray, count: int, data: Images) -> LabelledImages:
    """The first `count` readable, labelled records in `order`."""
    images: list[np.ndarray] = []
    labels: list[int] = []
    ids: list[int] = []
    skipped = unlabelled = 0
    for index in order:
        if len(ids) == count:
            break
        name = f"record {index}"
        try:
            record = source.read(int(index))
            name = record.name
            if record.label is None:
                unlabelled += 1
                continue
            how = data.image_size, data.channels, data.central_crop, data.most_pixels
            image = central(record.data, *how)
        except BadRecord as bad:
            skipped += 1
            log.warning("skipped %s: %s", bad.name or name, bad.reason)
            continue
        images.append(image)
        labels.append(record.label)
        ids.append(int(index))
    if not ids:
        if unlabelled:
            raise UserError(_unlabelled(data.source))
        raise UserError(f"{data.source!r}: all {skipped} records are unreadable, see the warnings")
    if skipped:
        log.warning("%d unreadable records of %s were left out", skipped, data.source)
    names = source.class_names or tuple(str(n) for n in range(max(labels) + 1))
    return LabelledImages(
        np.stack(images), np.array(labels, np.int32), names, np.array(ids, np.int32)
    )


def _unlabelled(source: str) -> str:
    return (
        f"{source!r} has no labels, and a probe needs them. Give a --source that has: a folder "
        "with one sub-folder per class and no image beside them, a tfds:NAME with a feature "
        "'label', or builtin:photos"
    )
