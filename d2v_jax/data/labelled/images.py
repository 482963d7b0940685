"""Images held whole in memory: with labels for probes, with names for feature extraction."""

import dataclasses
import hashlib
import logging
import os
from collections.abc import Iterator, Sequence

import numpy as np

from d2v_jax.common.checks import UserError, require
from d2v_jax.data.builtin.photos import NAMES, probe_set
from d2v_jax.data.config import ImageData
from d2v_jax.data.image.pictures import central
from d2v_jax.data.records import BadRecord, Source
from d2v_jax.data.sources import PHOTOS, open_images
from d2v_jax.data.stores import tfds_source
from d2v_jax.data.stores.folder import Folder

log = logging.getLogger("d2v")

TRAIN_SHARE = 0.7  # of the records of a source that has no test split of its own
PHOTO_CROPS = 2048  # of builtin:photos, where no count is asked for
TEST_SPLITS = ("validation", "test")  # of TFDS, the first that exists


@dataclasses.dataclass(frozen=True)
class LabelledImages:
    """Images uint8 [n, y, x, c], labels int32 [n], their names, and record ids int32 [n]."""

    images: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    ids: np.ndarray


def labelled_images(cfg: ImageData, split: str, count: int | None, seed: int) -> LabelledImages:
    """At most `count` images (None: all) of `split`, "train" or "test", with their labels.

    builtin:photos: crops of the left or right parts. TFDS: the split "train", or the first of
    "validation" and "test". Others: a fixed 70/30 division by the hash of each record's name.
    Images are cut centrally; `seed` picks which ones. Unreadable records are left out with a
    warning. Raises `UserError` where there are no labels.
    """
    require(split in ("train", "test"), f"split={split!r}: must be 'train' or 'test'")
    if cfg.source == PHOTOS:
        images, labels = probe_set(split, cfg.image_size, count or PHOTO_CROPS, seed)
        if cfg.channels == 3:
            images = np.repeat(images, 3, axis=3)
        return LabelledImages(images, labels, NAMES, np.arange(len(labels), dtype=np.int32))
    source, ids = _side(cfg, split)
    if not len(ids):
        raise UserError(
            f"{cfg.source!r} is too small: none of its {len(source)} records falls to the "
            f"{split} part; add images, or probe on another --source"
        )
    order = np.random.Generator(np.random.Philox(key=[seed, split == "test"])).permutation(ids)
    return _read(source, order, len(ids) if count is None else count, cfg)


def _side(cfg: ImageData, split: str) -> tuple[Source, np.ndarray]:
    """The source and the ids of its records that belong to `split`."""
    if cfg.source.startswith(tfds_source.PREFIX):
        name = "train" if split == "train" else _test_split(cfg.source)
        source = open_images(dataclasses.replace(cfg, split=name))
        return source, np.arange(len(source))
    # The split that pretraining read does not matter here, and only TFDS knows others.
    source = open_images(dataclasses.replace(cfg, split="train"))
    if isinstance(source, Folder):
        if source.class_names is None:
            raise UserError(_unlabelled(cfg.source))
        names: Sequence[str] = source.names
    else:
        names = [str(index) for index in range(len(source))]
    train = np.array([share(name) < TRAIN_SHARE for name in names])
    return source, np.flatnonzero(train if split == "train" else ~train)


def share(name: str) -> float:
    """A number in [0, 1) that follows from the name alone, on every machine."""
    digest = hashlib.sha256(name.encode(errors="surrogateescape")).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def _test_split(source: str) -> str:
    known = tfds_source.splits(source)
    for name in TEST_SPLITS:
        if name in known:
            return name
    raise UserError(
        f"{source!r} has only the splits {', '.join(known)}, so there is nothing to test on; "
        "probe on another --source"
    )


def _read(source: Source, order: np.ndarray, count: int, cfg: ImageData) -> LabelledImages:
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
            image = central(record.data, cfg.image_size, cfg.channels)
        except BadRecord as bad:
            skipped += 1
            log.warning("skipped %s: %s", bad.name or name, bad.reason)
            continue
        images.append(image)
        labels.append(record.label)
        ids.append(int(index))
    if not ids:
        if unlabelled:
            raise UserError(_unlabelled(cfg.source))
        raise UserError(f"{cfg.source!r}: all {skipped} records are unreadable, see the warnings")
    if skipped:
        log.warning("%d unreadable records of %s were left out", skipped, cfg.source)
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


def folder_images(
    path: str | os.PathLike, image_size: int, channels: int
) -> Iterator[tuple[str, np.ndarray]]:
    """Every readable image under `path`: (relative name, central crop uint8 [y, x, c]).

    Raises `UserError` at once for a missing or empty folder; files that cannot be read are
    left out with a warning each and their number at the end.
    """
    return _central_crops(Folder(path), image_size, channels)


def _central_crops(
    folder: Folder, image_size: int, channels: int
) -> Iterator[tuple[str, np.ndarray]]:
    skipped = 0
    for index, name in enumerate(folder.names):
        try:
            image_yxc = central(folder.read(index).data, image_size, channels)
        except BadRecord as bad:
            skipped += 1
            log.warning("skipped %s: %s", name, bad.reason)
            continue
        yield name, image_yxc
    if skipped:
        log.warning("%d of %d files in %s were skipped", skipped, len(folder), folder.root)
