"""What the labels of a batch are, and how an example gets its own."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from d2v_jax.common.checks import UserError
from d2v_jax.common.letters import Letters, NotInVocabulary
from d2v_jax.data.progress import logged
from d2v_jax.data.records import BadRecord, Example, Record, Source

END = -1  # behind the last letter of a transcript


class Label(NamedTuple):
    """One example's."""

    shape: tuple[int, ...]
    dtype: type[np.generic]
    of: Callable[[Record], Any]  # raises `BadRecord` where there is none


class Labelled(NamedTuple):
    """An example for evaluation: what the model is given, and what is true of it."""

    name: str
    inputs: np.ndarray
    label: Any  # a number, or a text


def _class(data: Any) -> Label:
    return Label((), np.int32, _number)


def _number(record: Record) -> int:
    if record.label is None:
        raise BadRecord("has no label", record.name)
    return record.label


def _value(data: Any) -> Label:
    return Label((), np.float32, _float)


def _float(record: Record) -> float:
    try:
        return float(record.text)
    except (TypeError, ValueError):
        raise BadRecord(f"its label {record.text!r} is no number", record.name) from None


@dataclasses.dataclass(frozen=True)
class _Letters:
    letters: Letters
    most: int

    def __call__(self, record: Record) -> np.ndarray:
        if record.text is None:
            raise BadRecord("has no transcript", record.name)
        try:
            ids = self.letters.encode(record.text)
        except NotInVocabulary as error:
            raise BadRecord(str(error), record.name) from None
        if len(ids) > self.most:
            raise BadRecord(
                f"its transcript has {len(ids)} letters, more than data.most_letters={self.most}",
                record.name,
            )
        return np.pad(np.array(ids, np.int32), (0, self.most - len(ids)), constant_values=END)


def _letters(data: Any) -> Label:
    letters = Letters(tuple(data.label_names), spelling=data.spelling)
    return Label((data.most_letters,), np.int32, _Letters(letters, data.most_letters))


@dataclasses.dataclass(frozen=True)
class _Tags:
    place: dict[str, int]

    def __call__(self, record: Record) -> np.ndarray:
        if record.text is None:
            raise BadRecord("has no tags", record.name)
        tags = record.text.split(",")
        strange = [tag for tag in tags if tag not in self.place]
        if strange:
            raise BadRecord(f"its tag {strange[0]!r} is none of those to learn", record.name)
        found = np.zeros(len(self.place), np.float32)
        found[[self.place[tag] for tag in tags]] = 1
        return found


def tags_of(source: Source, names: Sequence[str]) -> list[list[int]]:
    """The numbers of each record's tags; reads all records."""
    place = {name: number for number, name in enumerate(names)}
    found = []
    for index in logged(range(len(source)), "reading tags", len(source)):
        try:
            text = source.read(index).text or ""
        except BadRecord:
            text = ""
        found.append([place[tag] for tag in text.split(",") if tag in place])
    return found


def _tags(data: Any) -> Label:
    place = {name: number for number, name in enumerate(data.label_names)}
    return Label((len(place),), np.float32, _Tags(place))


LABELS: dict[str, Callable[[Any], Label | None]] = {
    "none": lambda data: None,
    "class": _class,
    "value": _value,
    "letters": _letters,
    "tags": _tags,
}
KINDS = tuple(LABELS)


@dataclasses.dataclass(frozen=True)
class WithLabel:
    """`cut` of a modality, and the label of the record."""

    cut: Callable[[Record, np.random.Generator, int], Example]
    label: Label

    def __call__(self, record: Record, rng: np.random.Generator, length: int) -> Example:
        label = np.asarray(self.label.of(record), self.label.dtype)
        return {**self.cut(record, rng, length), "labels": label}


def unlabelled(source: str, what: str) -> UserError:
    """Of a `source` without labels; `what` has some."""
    return UserError(f"data.source={source!r} has no labels; give {what}")
