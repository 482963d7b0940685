"""From the name of a source of pictures to its records."""

from d2v_jax.data.builtin.photos import PhotoWindows
from d2v_jax.data.image.pictures import IMAGES
from d2v_jax.data.records import Source
from d2v_jax.data.sources import BUILTIN_PREFIX, PHOTOS, check_builtin, named, only_train
from d2v_jax.data.stores import idx, shards, tfds_source
from d2v_jax.data.stores.folder import Folder
from d2v_jax.data.stores.prepared import Prepared, looks_prepared


def open_images(source: str, split: str, image_size: int) -> Source:
    """Opens whatever `IMAGES.sources` names; built-in photos in windows for `image_size`."""
    name = named(source, IMAGES.sources)
    if name.startswith(tfds_source.PREFIX):
        return tfds_source.Tfds(name, split)
    if idx.looks_idx(name):
        return idx.Idx(name, split)
    only_train(source, split, ("train", "test") if name == PHOTOS else ("train",))
    if name.startswith(BUILTIN_PREFIX):
        check_builtin(name, PHOTOS)
        return PhotoWindows(image_size, split)
    if looks_prepared(name):
        return Prepared(name, "image", "image")
    if shards.looks_like_shards(name):
        return shards.Shards(name)
    return Folder(name, IMAGES)
