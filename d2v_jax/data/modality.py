"""What an example is, on the host's side: the contract of a recipe's `data` section.

A modality is a module with a class `Data`, derived from this one, and a class `Frontend` for the
model's side. Ours are audio, image and text; anybody else's is named by its module:

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Data(modality.Data):
        samples: int = fields.positive()

        @property
        def example_shape(self): return (self.samples,)

        def open(self):
            return opened.joined([Recordings(self.source)], cut, ("eeg", self.samples), 1)

Everything here is NumPy: data never imports JAX, so that worker processes start fast.
"""

import dataclasses
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

import numpy as np

from d2v_jax.common import fields
from d2v_jax.common.checks import UserError, require
from d2v_jax.common.outside import class_of
from d2v_jax.data.contests.contest import Contest
from d2v_jax.data.labelled.labels import KINDS, LABELS, Labelled
from d2v_jax.data.opened import Form, Opened
from d2v_jax.data.records import Record, Source
from d2v_jax.data.requests import Batch, Named, equal_rows
from d2v_jax.data.sources import joined_sources
from d2v_jax.data.stores.prepared import looks_prepared

OURS = {
    "audio": "d2v_jax.data.audio.data",
    "image": "d2v_jax.data.image.data",
    "text": "d2v_jax.data.text.data",
}
EXAMPLES = 2_000  # labelled ones that a probe learns from, where nobody says how many
SMALL, LARGE = 8, 64  # examples encoded together, on a CPU and elsewhere


def data_class(name: str) -> type["Data"]:
    """The class of the `data` section of modality `name`, one of `OURS` or an importable module.

    Raises `UserError` where there is no such module, or it has no class `Data`.
    """
    return class_of("modality", name, OURS, "Data", Data)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Data:
    """The `data` section of a recipe. Its own fields follow in the modality's class.

    A modality must say `example_shape` and `open`; the rest has defaults, or says that the modality
    has no such thing. `frontend` is always the recipe's frontend record, whose fields only its
    own modality reads.

    Attributes:
        dtype: of "inputs" as they travel to the device.
        shaping: fields without which a trained model is not what it was, such as a picture's size.
        nouns: examples, in messages: "images". Of a folder, `files` of `noun`: "sound file".
        single_file: whether `inputs_of` takes a file for a folder.
        suffixes, builtin: names of files and built-in sources of this modality.
        beside_others: files of such names lie in folders of other modalities too.
        counted: what people count in a batch, and how many values make one of it; or None.
        examples, labelled: how many examples a probe takes by default, and where to get labels.
    """

    needed = ("example_shape", "open")
    dtype = np.float32
    shaping = ()
    noun, nouns, files = "file", "examples", "files"
    single_file = False
    suffixes = builtin = ()
    beside_others = False
    counted = None
    examples = EXAMPLES
    labelled = "--source with labels"

    source: str = fields.anything()
    split: str = fields.anything()
    labels: str = fields.one_of(*KINDS)
    label_names: tuple[str, ...] = fields.anything()
    per_class: int = fields.not_negative()
    balance: bool = fields.anything()
    weights: tuple[float, ...] = fields.anything()
    temperature: float = fields.positive()
    threads: int = fields.positive(free=True)
    workers: int = fields.not_negative(free=True)
    max_bad_share: float = fields.share(free=True)

    @property
    def modality(self) -> str:
        """As in `c.modality`: of ours a word, of others the name of their module."""
        return type(self).__module__

    @property
    def example_shape(self) -> tuple[int, ...]:
        """Of one example's "inputs", as most batches have it."""
        raise NotImplementedError

    @property
    def example_shapes(self) -> tuple[tuple[int, ...], ...]:
        """All there are, shortest first; one for each of `batch_sizes`."""
        return (self.example_shape,)

    def batch_sizes(self, batch_size: int) -> tuple[int, ...]:
        """Examples in a batch of each shape, where `batch_size` of `example_shape` make one."""
        del self
        return (batch_size,)

    def form(self, example_shape: tuple[int, ...], size: int) -> dict[str, Form]:
        """What a batch of `size` examples consists of: "inputs", "example_id" and more."""
        label = LABELS[self.labels](self)
        return {
            "inputs": Form((size, *example_shape), self.dtype),
            **({"labels": Form((size, *label.shape), label.dtype)} if label else {}),
            "example_id": Form((size,), np.int32),
        }

    def noise(
        self, example_shape: tuple[int, ...], size: int, frontend: Any, seed: int = 0
    ) -> dict[str, np.ndarray]:
        """A batch of that form without reading: random inputs that the frontend takes."""
        forms = self.form(example_shape, size)
        batch = {name: np.zeros(one.shape, one.dtype) for name, one in forms.items()}
        rng = np.random.default_rng(seed)
        batch["inputs"] = self.random_inputs(rng, batch["inputs"].shape, frontend)
        batch["example_id"] = np.arange(size, dtype=np.int32)
        return batch

    def random_inputs(
        self, rng: np.random.Generator, shape: tuple[int, ...], frontend: Any
    ) -> np.ndarray:
        """ "inputs" of that shape for `noise`: by default standard normal, or from 0 to 126."""
        del frontend
        if np.issubdtype(self.dtype, np.integer):
            return rng.integers(0, 127, shape, self.dtype)
        return rng.normal(0, 1, shape).astype(self.dtype)

    def rate(self, example_shape: tuple[int, ...]) -> tuple[str, float] | None:
        """What people count in an example, and how many it has: ("tokens", 512). None: nothing."""
        del self, example_shape
        return None

    # Checks; each raises `ConfigError`, and none opens anything

    def check(self) -> None:
        """Of the record's own fields together; each alone is checked by `fields.check`."""
        require(
            all(weight > 0 for weight in self.weights),
            f"data.weights={self.weights} must be positive",
        )

    def check_with(self, frontend: Any, batch_size: int) -> None:
        """Of what the frontend and `train.batch_size` allow."""

    def check_batches(self, batch_size: int, micro_batches: int) -> None:
        """Whether the batches of every shape can be had in equal parts."""
        for shape, size in zip(self.example_shapes, self.batch_sizes(batch_size)):
            crops = f" of {shape[0]} samples" if len(self.example_shapes) > 1 else ""
            require(
                size % micro_batches == 0,
                f"train.batch_size={batch_size} makes batches of {size} examples{crops}, which "
                f"are not a multiple of train.micro_batches={micro_batches}",
            )

    # Reading

    def open(self) -> Opened:
        """Opens `source`. Raises `UserError` where there is nothing to read, and what to give."""
        raise NotImplementedError

    def each(self) -> list[Self]:
        """The record for each of the sources that its `source` joins."""
        return [dataclasses.replace(self, source=one) for one in joined_sources(self.source)]

    def check_frontend(self, frontend: Any) -> None:
        """Raises `UserError` where what is read does not fit the model; may open files."""

    def keep(self, folder: pathlib.Path, frontend: Any = None) -> None:
        """Copies to `folder` what a trained model needs, as others read it with a `frontend`."""

    def found_in(self, folder: pathlib.Path) -> Self:
        """The record for a checkpoint, in whose `folder` lies what `keep` left, if anything."""
        del folder
        return self

    @classmethod
    def looks_like(cls, source: str) -> bool:
        """Whether the name of a source says that it is of this modality, without looking inside."""
        return source in cls.builtin

    @classmethod
    def standalone(cls, job: str, given: Sequence[str]) -> Mapping[str, Any]:
        """Fields to change for `d2v data` jobs without a recipe; `given` are set by hand."""
        del cls, job, given
        return {}

    def labelled_source(self) -> Source:
        """Those of `split`; labels count `label_names`, or what the source has. `UserError`."""
        raise self._has_no("labels to learn", "labelled_source")

    def test_splits(self, source: str) -> tuple[str, ...]:
        """What is called a test in `source`, the best first; () where nothing is."""
        del source
        return ()

    def in_order(self) -> Iterator[Labelled]:
        """Its readable examples once, as `cut_inputs` takes them; warns of the others."""
        raise self._has_no("examples to evaluate on", "in_order")

    @classmethod
    def of_the_encoder(
        cls, ours: Mapping[str, Any], theirs: Mapping[str, Any], frontend: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Fields that the encoder settles, from the `data` that it was trained with, `theirs`."""
        del ours, frontend
        return {name: theirs[name] for name in cls.shaping}

    def cut_inputs(
        self, inputs: Any, frontend: Any, large: bool, standardise: bool = True
    ) -> Iterator[Batch]:
        """Batches of few shapes of what a person gives `Encoder.features`, checked.

        `large` on an accelerator. `standardise`: inputs are raw, where that is a difference.
        """
        del frontend, standardise
        size = LARGE if large else SMALL
        return equal_rows(inputs, self.example_shape, np.dtype(self.dtype), size, self.nouns)

    def with_tokenizer(self, name: str | None, frontend: Any) -> Self:
        """The record with the tokenizer of `d2v features --tokenizer`, checked."""
        del frontend
        if name is not None:
            raise UserError(f"--tokenizer {name}: this is a model of {self.modality}")
        return self

    def inputs_of(self, path: pathlib.Path, frontend: Any, seconds: float) -> Named:
        """Every readable example in a folder by its name, as `cut_inputs` takes it ready.

        `seconds`: the most of a recording. Raises `UserError` where nothing is to be read.
        """
        raise self._has_no("folders of inputs: call Encoder.features with arrays", "inputs_of")

    def is_source(self, inputs: str) -> bool:
        """Whether that is more than a folder or file."""
        return inputs.startswith(("tfds:", "builtin:")) or looks_prepared(inputs)

    def every_input(self, frontend: Any) -> Iterator[tuple[str, np.ndarray]]:
        """Names and examples of the only source, as `cut_inputs` takes them ready."""
        raise self._has_no("sources that are read in order", "every_input")

    def exam(self, frontend: Any, count: int, seed: int) -> Any:
        """`labelled.exams.Exam` of labelled examples, at most `count` to learn from and to test."""
        raise self._has_no("examples with labels, and a probe needs them", "exam")

    def look(self, sample: int | None) -> Any:
        """`inspect.findings.Findings` of the only source, or of `sample` records of it."""
        from d2v_jax.data.inspect import anything

        opened = self.open()
        return anything.look(opened, self.source, self.nouns, sample)

    def prepare(
        self, out: pathlib.Path, workers: int, shard_mb: int, max_side: int | None
    ) -> dict[str, Any]:
        """Writes all records of the only source to shards in `out`; -> what prepared.json holds."""
        raise self._has_no("prepared form; its sources are read as they are", "prepare")

    def train_tokenizer(self, out: pathlib.Path, vocab_size: int) -> str:
        """Learns a tokenizer from all texts; -> what to tell the user."""
        raise UserError(f"{self.source!r} is no text; a tokenizer is trained on text")

    def values(self, inputs: np.ndarray) -> int:
        """How many of what `counted` counts are in "inputs" of one or many examples."""
        del self
        return inputs.size

    def stored_values(self, record: Record, length: int) -> int:
        """How many of them are in a record that is cut to `length`."""
        del self, record
        return length

    def contest(self, source: Source, records: Sequence[tuple[Record, int]]) -> Contest | None:
        """Its cutting beside a plain loop, for `d2v data bench`; None where there is no such loop.

        `records` are some readable ones of `source` with the lengths that they are cut to.
        """
        del source, records

    def _has_no(self, what: str, method: str) -> UserError:
        return UserError(
            f"modality {self.modality} has no {what} (its class Data has no method {method!r})"
        )
