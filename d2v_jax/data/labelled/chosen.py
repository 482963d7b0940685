"""Which labelled records are used, and what their labels are called."""

import dataclasses
import hashlib
from collections.abc import Sequence

import numpy as np

from d2v_jax.common.checks import UserError
from d2v_jax.data.progress import logged
from d2v_jax.data.records import BadRecord, Record, Source, Subset, fingerprint_of
from d2v_jax.data.sources import Part

MORE = 4  # balanced records for each one


def share(name: str) -> float:
    """A number in [0, 1) that follows from the name alone, on every machine."""
    digest = hashlib.sha256(name.encode(errors="surrogateescape")).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


class Renumbered:
    """The records of `source`, whose labels count the `class_names` given here.

    A model's outputs stand for names; other sources may have some of them, in another order.
    """

    def __init__(self, source: Source, class_names: Sequence[str]):
        """Raises `UserError` where a class of the source is none of them."""
        strange = sorted(set(source.class_names or ()) - set(class_names))
        if strange:
            raise UserError(
                f"the data have {len(strange)} classes that the model does not know, such as "
                f"{strange[0]!r}; it knows {shown(class_names)}. Leave them out, or fine-tune on "
                "all of them"
            )
        self.source = source
        self.faults = getattr(source, "faults", {})
        if hasattr(source, "lengths"):
            self.lengths = source.lengths
        place = {name: number for number, name in enumerate(class_names)}
        self._numbers = [place[name] for name in source.class_names or class_names]
        self.class_names = tuple(class_names)
        self.fingerprint = fingerprint_of((source.fingerprint, self.class_names))

    def __len__(self) -> int:
        return len(self.source)

    def read(self, index: int) -> Record:
        record = self.source.read(index)
        if record.label is None:
            raise BadRecord("has no label", record.name)
        if record.label >= len(self._numbers):
            raise BadRecord(f"its label {record.label} has no name", record.name)
        return dataclasses.replace(record, label=self._numbers[record.label])


def shown(names: Sequence[str]) -> str:
    """A few of them, and how many there are."""
    few = ", ".join(map(repr, names[:5]))
    return few if len(names) <= 5 else f"{few} and {len(names) - 5} more"


def in_part(source: Source, part: Part, name: str) -> Source:
    """The records in a part of a split, by their names. Raises `UserError` where none is."""
    if part.whole:
        return source
    shares_n = np.array([share(_name(source, index)) for index in range(len(source))])
    chosen = np.flatnonzero((shares_n >= part.low) & (shares_n < part.high))
    if not len(chosen):
        raise UserError(
            f"{name!r}: none of {len(source)} records is in the part from {part.low:.0%} to "
            f"{part.high:.0%}; take a larger one"
        )
    return Subset(source, chosen)


def of_classes(source: Source, label_names: Sequence[str], per_class: int, balance: bool) -> Source:
    """Records with a class each: so many of each, drawn as the recipe says, their labels counted
    by `label_names`, or by the names that the source has.
    """
    found = few(source, per_class, 0)
    if balance:
        found = balanced(found, [[n] if n >= 0 else [] for n in labels_of(found)], 0)
    return Renumbered(found, label_names or source.class_names)


def few(source: Source, per_class: int, seed: int) -> Source:
    """At most so many records of each class, drawn by `seed`; 0: all."""
    if not per_class:
        return source
    labels_n = labels_of(source)
    order = np.random.Generator(np.random.Philox(key=[seed, per_class])).permutation(len(labels_n))
    taken = [
        order[labels_n[order] == label][:per_class] for label in np.unique(labels_n[labels_n >= 0])
    ]
    return Subset(source, np.sort(np.concatenate(taken)))


def balanced(source: Source, classes_n: Sequence[Sequence[int]], seed: int) -> Source:
    """Four times as many records, of which each class has about as many as the others.

    `classes_n`: those of each record, one or several. A record counts for each of its classes as
    much as the class is rare (REFERENCE §12.5).
    """
    counts = np.bincount(np.concatenate([np.asarray(one, int) for one in classes_n]))
    weights_n = np.array([sum(1 / counts[label] for label in one) for one in classes_n])
    rng = np.random.Generator(np.random.Philox(key=[seed, 1]))
    drawn = MORE * len(weights_n)
    # Evenly spaced marks on the sum of the weights: no record is drawn more often by luck.
    marks = (np.arange(drawn) + rng.random()) / drawn * weights_n.sum()
    taken = np.searchsorted(np.cumsum(weights_n), marks, side="right")
    return Subset(source, np.minimum(taken, len(weights_n) - 1))


def labels_of(source: Source) -> np.ndarray:
    """Of all records int32 [n], -1 where there is none; decodes nothing."""
    if isinstance(source, Subset):
        return labels_of(source.source)[source.indices]
    if hasattr(source, "label"):
        found = (source.label(index) for index in range(len(source)))
    else:
        found = (_read_label(source, i) for i in logged(range(len(source)), "reading labels"))
    return np.array([-1 if label is None else label for label in found], np.int32)


def _read_label(source: Source, index: int) -> int | None:
    try:
        return source.read(index).label
    except BadRecord:
        return None


def _name(source: Source, index: int) -> str:
    if isinstance(source, Subset):
        return _name(source.source, int(source.indices[index]))
    return source.name(index) if hasattr(source, "name") else str(index)
