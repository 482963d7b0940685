"""Pictures: random crops in 8 bits."""

import dataclasses
import functools
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from d2v_jax.common import fields
from d2v_jax.common.checks import require
from d2v_jax.data import modality
from d2v_jax.data.contests.contest import Contest
from d2v_jax.data.image import inputs, opening, pictures
from d2v_jax.data.labelled import chosen, in_order, labels
from d2v_jax.data.opened import Opened, joined
from d2v_jax.data.records import Record, Source
from d2v_jax.data.requests import Batch, Named, equal_rows
from d2v_jax.data.sources import PHOTOS, Part, part_of
from d2v_jax.data.stores import idx, tfds_source
from d2v_jax.data.stores.shards import RECORDS


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageData(modality.Data):
    """Crops of `image_size` pixels a side, 1 (grey) or 3 `channels`: `crop_scale` is the share of
    the area, `crop_ratio` width / height, `jitter` the strength of random colours. Labelled ones
    are changed by so many random `operations` of a `strength`. For tests the central crop has
    `central_crop` of the shorter side. Pictures of more than `most_pixels` are left out.
    """

    modality = "image"
    dtype = np.uint8
    shaping = ("image_size", "channels", "central_crop")
    noun, nouns, files = pictures.IMAGES.noun, "images", "images"
    suffixes, builtin = pictures.IMAGES.suffixes, (PHOTOS,)
    examples = 4_000
    labelled = "--source builtin:photos, or a folder with one sub-folder per class"

    image_size: int = fields.positive()
    channels: int = fields.anything()
    crop_scale: tuple[float, float] = fields.anything()
    crop_ratio: tuple[float, float] = fields.anything()
    flip: float = fields.share()
    jitter: float = fields.not_negative()
    resize: str = fields.one_of("exact", "fast")
    operations: int = fields.not_negative()
    strength: float = fields.not_negative()
    central_crop: float = fields.share()
    most_pixels: int = fields.positive()

    @property
    def example_shape(self) -> tuple[int, ...]:
        """(y, x, c)"""
        return (self.image_size, self.image_size, self.channels)

    def random_inputs(
        self, rng: np.random.Generator, shape: tuple[int, ...], frontend: Any
    ) -> np.ndarray:
        del frontend
        return rng.integers(0, 256, shape, np.uint8)

    def check(self) -> None:
        scale, ratio = self.crop_scale, self.crop_ratio
        require(
            0 < scale[0] <= scale[1] <= 1,
            f"data.crop_scale={scale} must be two ascending shares of the area in (0, 1]",
        )
        require(
            0 < ratio[0] <= ratio[1],
            f"data.crop_ratio={ratio} must be two ascending positive ratios",
        )
        require(
            self.central_crop > 0,
            f"data.central_crop={self.central_crop} must be above 0",
        )
        require(
            self.channels in (1, 3),
            f"data.channels={self.channels} must be 1 (grey) or 3 (RGB)",
        )
        super().check()

    def check_with(self, frontend: Any, batch_size: int) -> None:
        del batch_size
        require(
            self.image_size % frontend.patch_size == 0,
            f"data.image_size={self.image_size} is not a multiple of "
            f"frontend.patch_size={frontend.patch_size}",
        )
        for name in ("mean", "std"):
            values = getattr(frontend, name)
            require(
                frontend.normalize != "dataset" or len(values) == self.channels,
                f"frontend.{name}={values} must have data.channels={self.channels} entries",
            )

    def open(self) -> Opened:
        follows = (
            self.image_size,
            self.channels,
            tuple(self.crop_scale),
            tuple(self.crop_ratio),
            self.flip,
            self.jitter,
            self.resize,
        )
        cut = functools.partial(pictures.example, how=self)
        if self.labels == "none":
            sources = [one.records() for one in self.each()]
            return joined(sources, cut, follows, self.image_size)
        cut = labels.WithLabel(cut, labels.LABELS[self.labels](self))
        follows += (self.operations, self.strength, self.per_class, self.balance)
        sources = [one.labelled_source() for one in self.each()]
        return joined(sources, cut, follows, self.image_size)

    def labelled_source(self) -> Source:
        part = part_of(self.split)
        if self.source.startswith(tfds_source.PREFIX):  # which has its own parts
            part = Part(self.split)
        source = self.records(part.split)
        if source.class_names is None:
            raise labels.unlabelled(self.source, self.labelled.removeprefix("--source "))
        parted = chosen.in_part(source, part, self.source)
        return chosen.of_classes(parted, self.label_names, self.per_class, self.balance)

    def test_splits(self, source: str) -> tuple[str, ...]:
        if source.startswith(tfds_source.PREFIX):
            known = tfds_source.splits(source)
            return tuple(name for name in ("validation", "test") if name in known)
        own = source == PHOTOS or "test" in idx.splits(source)
        return ("test",) if own else ()

    def in_order(self) -> Iterator[labels.Labelled]:
        """Cut centrally."""
        return in_order.read(self.labelled_source(), self._centre)

    def records(self, split: str | None = None) -> Source:
        """The pictures of the only source, of the recipe's `split` or another."""
        return opening.open_images(self.source, split or self.split, self.image_size)

    @classmethod
    def looks_like(cls, source: str) -> bool:
        shards = RECORDS in source and not pathlib.Path(source).expanduser().is_dir()
        return source in cls.builtin or shards

    def cut_inputs(
        self, inputs_n: Any, frontend: Any, large: bool, standardise: bool = True
    ) -> Iterator[Batch]:
        """Pixels uint8 [b, y, x, c] of the recipe's size."""
        del frontend, standardise
        return equal_rows(
            inputs_n,
            self.example_shape,
            np.dtype(np.uint8),
            modality.LARGE if large else modality.SMALL,
            self.nouns,
            values="uint8 pixels from 0 to 255",
            remedy=", so crop or resize them",
        )

    def inputs_of(self, path: pathlib.Path, frontend: Any, seconds: float) -> Named:
        del frontend, seconds
        return Named(
            inputs.folder_images(
                path, self.image_size, self.channels, self.central_crop, self.most_pixels
            )
        )

    def every_input(self, frontend: Any) -> Iterator[tuple[str, np.ndarray]]:
        """Cut centrally."""
        del frontend
        found = in_order.read(self.records(), self._centre, lambda record: None)
        return ((one.name, one.inputs) for one in found)

    def _centre(self, record: Record) -> np.ndarray:
        share, most = self.central_crop, self.most_pixels
        return pictures.central(record.data, self.image_size, self.channels, share, most)

    def exam(self, frontend: Any, count: int, seed: int) -> Any:
        """Which class a picture is of, and a patch of it, beside their pixels."""
        from d2v_jax.data.labelled import images

        return images.exam(self, frontend.patch_size, count, seed)

    def look(self, sample: int | None) -> Any:
        """All pictures, decoded whole: what is unreadable here is so in training."""
        from d2v_jax.data.inspect import images

        return images.look(self.records(), self, sample)

    def prepare(
        self, out: pathlib.Path, workers: int, shard_mb: int, max_side: int | None
    ) -> dict[str, Any]:
        """Files stay as they are, but for those with more than `max_side` pixels a side."""
        from d2v_jax.data.prepare import examples, write_shards

        asked = write_shards.Asked(
            self.modality, self.source, self.split, shard_mb, max_side, self.max_bad_share
        )
        store = functools.partial(
            examples.picture_example, max_side=max_side, most=self.most_pixels
        )
        return write_shards.write(self.records(), store, asked, out, workers)

    def contest(self, source: Source, records: Sequence[tuple[Record, int]]) -> Contest | None:
        from d2v_jax.data.contests import images

        del source
        return images.contest(self, [record for record, _ in records])


Data = ImageData
