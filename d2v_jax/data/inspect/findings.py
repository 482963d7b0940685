"""What looking at a source finds, and what looks at many records at once."""

import concurrent.futures
import dataclasses
import hashlib
import itertools
import pathlib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np

from d2v_jax.data.progress import logged
from d2v_jax.data.records import BadRecord, Elsewhere, Record, Source
from d2v_jax.data.stores.folder import open_regular

THREADS = 4  # decoders leave Python's lock
T = TypeVar("T")


@dataclasses.dataclass
class Findings:
    """`facts` are for people, `numbers` the same for programs.

    `passed_over` counts files of other suffixes.
    `bad` are reasons and `duplicates` the names they repeat, both by name. `waves` are a few
    recordings int16 [s] by name, `pictures` a few uint8 [y, x, 3].
    """

    source: str
    fingerprint: str
    records: int
    looked_at: int
    facts: dict[str, str] = dataclasses.field(default_factory=dict)
    numbers: dict[str, Any] = dataclasses.field(default_factory=dict)
    classes: dict[str, int] = dataclasses.field(default_factory=dict)
    histograms: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    bad: dict[str, str] = dataclasses.field(default_factory=dict)
    passed_over: dict[str, int] = dataclasses.field(default_factory=dict)
    duplicates: dict[str, str] = dataclasses.field(default_factory=dict)
    waves: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    pictures: list[np.ndarray] = dataclasses.field(default_factory=list)


def chosen(count: int, sample: int | None) -> list[int]:
    """All of `count` record numbers, or `sample` of them, evenly spread."""
    if sample is None or sample >= count:
        return list(range(count))
    return (np.arange(sample) * count // sample).tolist()


def each(
    source: Source, numbers: list[int], look: Callable[[Record], T], found: Findings
) -> Iterator[T]:
    """What `look` says of the records at `numbers`, in order; few are held at a time.

    Names, classes, duplicates and what cannot be read go into `found`.
    """

    def one(number: int) -> tuple[Record | None, bytes, T | BadRecord]:
        try:
            record = source.read(number)
        except BadRecord as bad:
            return None, b"", BadRecord(bad.reason, bad.name or f"record {number}")
        try:
            return dataclasses.replace(record, data=b""), _digest(record.data), look(record)
        except BadRecord as bad:
            return None, b"", BadRecord(bad.reason, record.name)

    first: dict[bytes, str] = {}
    labels: dict[int, int] = {}
    for record, digest, result in logged(
        _ahead(one, numbers), f"reading {found.source}", len(numbers)
    ):
        if isinstance(result, BadRecord):
            found.bad[str(result.name)] = result.reason
            continue
        if digest in first:
            found.duplicates[record.name] = first[digest]
        else:
            first[digest] = record.name
        if record.label is not None:
            labels[record.label] = labels.get(record.label, 0) + 1
        yield result
    names = source.class_names or ()
    found.classes = {
        names[label] if label < len(names) else str(label): labels[label]
        for label in sorted(labels)
    }


def _ahead(one: Callable[[int], T], numbers: list[int]) -> Iterator[T]:
    """`map` with threads that are only a little ahead."""
    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        rest = iter(numbers)
        waiting = [pool.submit(one, number) for number in itertools.islice(rest, 2 * THREADS)]
        try:
            while waiting:
                yield waiting.pop(0).result()
                waiting += [pool.submit(one, number) for number in itertools.islice(rest, 1)]
        finally:
            for future in waiting:
                future.cancel()


def _digest(data: bytes | pathlib.Path | Elsewhere | np.ndarray) -> bytes:
    if isinstance(data, pathlib.Path):
        try:
            with open_regular(data) as file:
                return hashlib.file_digest(file, "sha256").digest()
        except OSError as error:
            raise BadRecord(error.strerror or str(error)) from error
    digest = hashlib.sha256()
    if isinstance(data, bytes):
        digest.update(data)
    elif isinstance(data, np.ndarray):
        digest.update(np.ascontiguousarray(data).tobytes())
    else:
        for piece in data.contents():
            digest.update(piece)
    return digest.digest()


def range_of(values: np.ndarray, digits: int = 0) -> str:
    """ "least / median / most" of `values` [n]."""
    if not len(values):
        return "-"
    parts = (values.min(), np.median(values), values.max())
    return " / ".join(f"{float(part):,.{digits}f}" for part in parts)


def tally(values: list[Any]) -> dict[str, int]:
    """How often each occurs, the most frequent first."""
    names, counts = np.unique(np.array(values, str), return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return {str(names[i]): int(counts[i]) for i in order}


def listed(counts: dict[str, int]) -> str:
    """ "RGB 30, L 2"."""
    return ", ".join(f"{name} {count:,}" for name, count in counts.items()) or "-"
