"""Sound: crops of recordings, standardised by the whole utterance."""

import dataclasses
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from d2v_jax.common import fields, letters
from d2v_jax.common.checks import require
from d2v_jax.data import modality
from d2v_jax.data.audio import inputs, opening, recordings, waves
from d2v_jax.data.audio.lists import segments
from d2v_jax.data.audio.lists.manifest import SUFFIX
from d2v_jax.data.audio.recordings import SOUNDS, long_enough
from d2v_jax.data.audio.remembered import Remembered
from d2v_jax.data.audio.sound_files import RATE
from d2v_jax.data.contests.contest import Contest
from d2v_jax.data.labelled import chosen, in_order, labels
from d2v_jax.data.opened import Form, Opened, joined
from d2v_jax.data.records import BadRecord, Record, Source
from d2v_jax.data.requests import Batch, Named
from d2v_jax.data.sources import SPEECH, Part, part_of
from d2v_jax.data.stores import tfds_source
from d2v_jax.data.units import opening as unit_sets
from d2v_jax.data.units import units

ANY_LENGTH = 2**62  # samples
NOISE_STD = 3_000  # of int16 samples


@dataclasses.dataclass(frozen=True, kw_only=True)
class AudioData(modality.Data):
    """`samples` at 16 kHz in a crop, or as many as each of `buckets` says; all of what a batch
    holds is `train.batch_size` times `samples`. Recordings below `min_samples` are left out.
    """

    modality = "audio"
    dtype = np.int16
    noun, nouns, files = SOUNDS.noun, "sounds", "sound files"
    suffixes, builtin = SOUNDS.suffixes, tuple(opening.BUILTIN)
    counted = ("hours of sound", 3600 * RATE)
    labelled = "--source builtin:tones, or a folder with one sub-folder per speaker"

    samples: int = fields.positive()
    min_samples: int = fields.not_negative()
    most_letters: int = fields.positive()
    spelling: str = fields.one_of(*letters.SPELLINGS)
    buckets: tuple[int, ...] = fields.anything()
    units: tuple[str, ...] = fields.anything()
    unit_rate: float = fields.positive()
    unit_classes: tuple[int, ...] = fields.anything()
    unit_special: int = fields.not_negative()

    @property
    def example_shape(self) -> tuple[int, ...]:
        """(samples,)"""
        return (self.samples,)

    @property
    def example_shapes(self) -> tuple[tuple[int, ...], ...]:
        """(samples,) of each bucket."""
        return tuple((length,) for length in self._crops())

    def _crops(self) -> tuple[int, ...]:
        return self.buckets or (self.samples,)

    def batch_sizes(self, batch_size: int) -> tuple[int, ...]:
        """As many crops of each length as hold the samples of `batch_size` crops of `samples`."""
        return tuple(batch_size * self.samples // length for length in self._crops())

    def form(self, example_shape: tuple[int, ...], size: int) -> dict[str, Form]:
        """ "inputs" int16 [b, s], "offset" and "scale" float32 [b], "example_id".

        Of `units` "units" int32 [b, l, set], -1 where a recording has no more of them.
        """
        own = super().form(example_shape, size)
        more = {name: Form((size,), np.float32) for name in ("offset", "scale")}
        if self.labels != "none":
            more["length"] = Form((size,), np.int32)
        elif self.units:
            places = units.count_of(example_shape[0], self.unit_rate)
            more["units"] = Form((size, places, len(self.units)), np.int32)
        return {"inputs": own.pop("inputs"), **more, **own}

    def noise(
        self, example_shape: tuple[int, ...], size: int, frontend: Any, seed: int = 0
    ) -> dict[str, np.ndarray]:
        """Samples of standard deviation 1 once scaled."""
        batch = super().noise(example_shape, size, frontend, seed)
        batch["scale"] += 1 / NOISE_STD
        if "length" in batch:
            batch["length"] += example_shape[0]
        return batch

    def random_inputs(
        self, rng: np.random.Generator, shape: tuple[int, ...], frontend: Any
    ) -> np.ndarray:
        del frontend
        return rng.normal(0, NOISE_STD, shape).astype(np.int16)

    def rate(self, example_shape: tuple[int, ...]) -> tuple[str, float]:
        """Seconds."""
        return "seconds of sound", example_shape[0] / RATE

    def check(self) -> None:
        super().check()
        require(
            all(b > 0 for b in self.buckets) and list(self.buckets) == sorted(set(self.buckets)),
            f"data.buckets={self.buckets} must be positive numbers of samples, ascending",
        )
        require(
            not self.units or len(self.units) == len(self.unit_classes),
            f"data.units={self.units} has {len(self.units)} label sets, clusters.classes="
            f"{self.unit_classes} has {len(self.unit_classes)}; give as many of both",
        )

    def check_with(self, frontend: Any, batch_size: int) -> None:
        total = batch_size * self.samples
        require(
            not self.buckets or self.buckets[-1] <= total,
            f"data.buckets={self.buckets}: a batch of train.batch_size * data.samples = {total} "
            "samples is too small for one crop of the longest; raise train.batch_size or set "
            "data.buckets to () for crops of data.samples alone",
        )

    def open(self) -> Opened:
        if self.labels != "none":
            return self._open_labelled()
        each = self.each()
        sources = [one.records() for one in each]
        lengths = np.concatenate([source.lengths for source in sources])
        buckets = opening.buckets_of(lengths, self._crops())
        cut, follows = waves.random_crop, ("audio", self.samples, self.buckets)
        if self.units:
            classes = self.unit_classes, self.unit_special
            called = dict(zip([one.source for one in each], sources))
            cut = unit_sets.opened(self.units, self.unit_rate, *classes, called)
            follows += (self.unit_rate, *(one.fingerprint for one in cut.sets))
        remembered = [Remembered(source) for source in sources]
        return joined(remembered, cut, follows, self.samples, buckets)

    def _open_labelled(self) -> Opened:
        """Whole recordings, each padded to the shortest bucket that holds it."""
        sources = [one.labelled_source() for one in self.each()]
        lengths = np.concatenate([source.lengths for source in sources])
        cut = labels.WithLabel(waves.whole, labels.LABELS[self.labels](self))
        follows = ("labelled audio", self.labels, self.label_names, self.samples, self.buckets)
        follows += (self.most_letters, self.spelling, self.per_class, self.balance)
        return joined(
            [Remembered(source) for source in sources],
            cut,
            follows,
            self.samples,
            opening.padded_buckets(lengths, self._crops()),
        )

    def labelled_source(self) -> Source:
        """The recordings that fit into the longest bucket; their classes are as sources have them.

        Raises `UserError` where there is no transcript, or no class, as `labels` needs it.
        """
        return self._labelled(max(self._crops()))

    def _labelled(self, longest: int) -> Source:
        part = part_of(self.split)
        if self.source.startswith(tfds_source.PREFIX):  # which has its own parts
            part = Part(self.split)
        found = opening.open_audio(self.source, part.split)
        found = chosen.in_part(found, part, self.source)
        fitting = recordings.no_longer(found, self.source, self.min_samples, longest)
        if self.labels == "tags" and self.balance:
            return chosen.balanced(fitting, labels.tags_of(fitting, self.label_names), 0)
        if self.labels != "class":
            return fitting
        if found.class_names is None:
            raise labels.unlabelled(self.source, "a folder with one sub-folder per class")
        return chosen.of_classes(fitting, self.label_names, self.per_class, self.balance)

    def test_splits(self, source: str) -> tuple[str, ...]:
        if source == SPEECH:
            return ("test",)
        if source.startswith(tfds_source.PREFIX):
            known = tfds_source.splits(source)
            return tuple(name for name in ("validation", "test") if name in known)
        return ()

    def in_order(self) -> Iterator[labels.Labelled]:
        """Whole, standardised; of "letters" with the transcript, spelt as it is learnt."""
        source = self._labelled(ANY_LENGTH)  # an utterance that is hard to batch is tested too
        if self.labels == "letters":
            return in_order.read(source, _standardised, self._spoken)
        of = labels.LABELS[self.labels](self).of
        return in_order.read(source, _standardised, of)

    def _spoken(self, record: Record) -> str:
        if record.text is None:
            raise BadRecord("has no transcript", record.name)
        return letters.spelt(record.text, self.spelling)

    def records(self, least: int | None = None) -> Source:
        """The recordings of the only source that are long enough; of `least` samples or more."""
        found = opening.open_audio(self.source, self.split)
        if least is not None:
            return long_enough(found, self.source, least, least, bucketed=False)
        crop, bucketed = min(self._crops()), bool(self.buckets)
        return long_enough(found, self.source, crop, self.min_samples, bucketed)

    @classmethod
    def looks_like(cls, source: str) -> bool:
        return source in cls.builtin or source.lower().endswith((SUFFIX, segments.STM))

    def cut_inputs(
        self, inputs_n: Any, frontend: Any, large: bool, standardise: bool = True
    ) -> Iterator[Batch]:
        """Waves at 16 kHz, a list of [s] of any lengths, float or int16."""
        return inputs.cut(inputs_n, inputs.shortest(frontend.conv_layers), large, standardise)

    def inputs_of(self, path: pathlib.Path, frontend: Any, seconds: float) -> Named:
        return inputs.of_folder(path, inputs.shortest(frontend.conv_layers), seconds)

    def is_source(self, inputs: str) -> bool:
        return super().is_source(inputs) or inputs.lower().endswith((SUFFIX, segments.STM))

    def every_input(self, frontend: Any) -> Iterator[tuple[str, np.ndarray]]:
        """Whole and standardised; what is shorter than a frame is left out."""
        source = self.records(least=inputs.shortest(frontend.conv_layers))
        found = in_order.read(source, _standardised, lambda record: None)
        return ((one.name, one.inputs) for one in found)

    def exam(self, frontend: Any, count: int, seed: int) -> Any:
        """Whose utterance it is and, where a source knows when words are said, which word."""
        from d2v_jax.data.labelled import sounds

        # Pretraining wants long recordings; here all count.
        source = self.records(least=inputs.shortest(frontend.conv_layers))
        return sounds.exam(source, self.source, frontend.conv_layers, count, seed)

    def look(self, sample: int | None) -> Any:
        """All recordings, those too short too, which are named as left out."""
        from d2v_jax.data.inspect import sounds

        least = max(self.min_samples, min(self._crops()))
        return sounds.look(self.records(least=1), self.source, least, sample)

    def prepare(
        self, out: pathlib.Path, workers: int, shard_mb: int, max_side: int | None
    ) -> dict[str, Any]:
        """Sounds of any length are written; which are long enough is asked when they are read."""
        from d2v_jax.data.prepare import examples, write_shards

        write_shards.no_pictures(self.source, max_side)
        asked = write_shards.Asked(
            self.modality, self.source, self.split, shard_mb, None, self.max_bad_share
        )
        records = self.records(least=1)
        return write_shards.write(records, examples.sound_example, asked, out, workers)

    def contest(self, source: Source, records: Sequence[tuple[Record, int]]) -> Contest | None:
        from d2v_jax.data.contests import sounds

        return sounds.contest(records)


def _standardised(record: Record) -> np.ndarray:
    return waves.standardised(record.data)[0]


Data = AudioData
