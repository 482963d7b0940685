"""Pictures of people, for features: central crops of a folder."""

import logging
import os
from collections.abc import Iterator

import numpy as np

from d2v_jax.data.image.pictures import CENTRAL, IMAGES, MOST_PIXELS, central
from d2v_jax.data.records import BadRecord
from d2v_jax.data.stores.folder import Folder

log = logging.getLogger("d2v")


def folder_images(
    path: str | os.PathLike,
    image_size: int,
    channels: int,
    share: float = CENTRAL,
    most: int = MOST_PIXELS,
) -> Iterator[tuple[str, np.ndarray]]:
    """Every readable image under `path`: (relative name, central crop uint8 [y, x, c]).

    `share` and `most` as in `pictures.central`. Files that cannot be read are left out with a
    warning each and their number at the end. Raises `UserError` at once for a missing or empty
    folder.
    """
    return _central_crops(Folder(path, IMAGES), image_size, channels, share, most)


def _central_crops(
    folder: Folder, image_size: int, channels: int, share: float, most: int
) -> Iterator[tuple[str, np.ndarray]]:
    skipped = 0
    for index, name in enumerate(folder.names):
        try:
            image_yxc = central(folder.read(index).data, image_size, channels, share, most)
        except BadRecord as bad:
            skipped += 1
            log.warning("skipped %s: %s", name, bad.reason)
            continue
        yield name, image_yxc
    if skipped:
        log.warning("%d of %d files in %s were skipped", skipped, len(folder), folder.root)
