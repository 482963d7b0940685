"""From the field `data.source` to records."""

import difflib

from d2v_jax.common.checks import UserError
from d2v_jax.data import shards, tfds_source
from d2v_jax.data.config import DataConfig
from d2v_jax.data.folder import Folder
from d2v_jax.data.photos import PhotoWindows
from d2v_jax.data.records import Source

BUILTIN_PREFIX = "builtin:"
PHOTOS = "builtin:photos"
BUILTINS = (PHOTOS,)


def open_source(cfg: DataConfig) -> Source:
    """Opens a folder of images, "tfds:NAME", ArrayRecord files or "builtin:photos".

    Raises `UserError` where there is nothing to read, saying what to give instead.
    """
    source = cfg.source.strip()
    if not source:
        raise UserError(
            "data.source is empty; give a folder of images, tfds:NAME, a pattern of "
            "*.array_record files, or builtin:photos"
        )
    if source.startswith(tfds_source.PREFIX):
        return tfds_source.Tfds(source, cfg.split)
    if cfg.split != "train":
        raise UserError(
            f"data.split={cfg.split!r}: only tfds:NAME sources have splits; leave it 'train' "
            f"for {source!r}"
        )
    if source.startswith(BUILTIN_PREFIX):
        check_builtin(source)
        return PhotoWindows(cfg.image_size)
    if shards.looks_like_shards(source):
        return shards.Shards(source)
    return Folder(source)


def check_builtin(source: str) -> None:
    """Raises `UserError` for a built-in set that does not exist."""
    if source in BUILTINS:
        return
    near = difflib.get_close_matches(source, BUILTINS, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]}?" if near else ""
    raise UserError(
        f"data.source={source!r}: there is no such built-in set; known: {', '.join(BUILTINS)}."
        f"{hint}"
    )
