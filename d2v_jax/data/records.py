"""What a source of examples is, and what goes wrong with one of its records."""

import dataclasses
import hashlib
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from d2v_jax.common.checks import visible

Example = dict[str, np.ndarray]  # what one record contributes to a batch, without its id


class Standard(NamedTuple):
    """What standardises a whole utterance: (int16 - offset) * scale has mean 0 and variance 1.

    `fit` is what brings a float wave within the full scale of 16 bits.
    """

    offset: np.float32
    scale: np.float32
    fit: float = 1.0


class Elsewhere(Protocol):
    """Data that are read where they lie, as they are needed: `size` in bytes."""

    @property
    def size(self) -> int: ...

    def contents(self) -> Iterator[bytes]:
        """All of it, a piece at a time."""
        ...


@dataclasses.dataclass(frozen=True)
class Record:
    """One example as it is stored.

    `data` is
        of images, an encoded picture, or uint8 pixels [y, x] or [y, x, c];
        of audio, an encoded sound file, the path of a large one, a part of one, or samples [s] at
            16 kHz;
        of text, int32 token ids [t] without the `<s>` in front.
    `label` counts from 0, None when there is none. `name` is for messages, and stays the same
    for as long as the record does. `text` is a transcript. `standard` is there where it is
    known without decoding the utterance; where it is not, whoever decodes it tells `learn`.
    """

    data: bytes | pathlib.Path | Elsewhere | np.ndarray
    label: int | None
    name: str
    text: str | None = None
    standard: Standard | None = None
    learn: Callable[[Standard], None] | None = None

    @property
    def size(self) -> int:
        """Bytes."""
        if isinstance(self.data, pathlib.Path):
            try:
                return self.data.stat().st_size
            except OSError as error:
                raise BadRecord(error.strerror or str(error), self.name) from error
        if isinstance(self.data, np.ndarray):
            return self.data.nbytes
        return len(self.data) if isinstance(self.data, bytes) else self.data.size


class BadRecord(Exception):
    """A record that cannot become an example: truncated, not a picture, too large.

    `name` says which record, where the raising code knows it.
    """

    def __init__(self, reason: str, name: str | None = None):
        super().__init__(reason, name)
        self.reason = visible(reason)
        self.name = name

    def __str__(self) -> str:
        return self.reason


class Source(Protocol):
    """Random access to records. Must pickle, for it travels to worker processes."""

    class_names: tuple[str, ...] | None
    fingerprint: str  # equal when the records are equal, as far as names and sizes tell

    def __len__(self) -> int: ...

    def read(self, index: int) -> Record:
        """Returns record `index`. Raises `BadRecord` where it cannot be read."""
        ...


class Subset:
    """The records of `source` at `indices` [n], in that order.

    `faults` are reasons by name, of records that were left out.
    """

    def __init__(
        self, source: Source, indices: np.ndarray, faults: Mapping[str, str] | None = None
    ):
        self.source = source
        self.indices = indices
        self.class_names = source.class_names
        self.faults = {**getattr(source, "faults", {}), **(faults or {})}
        if hasattr(source, "lengths"):
            self.lengths = source.lengths[indices]
        digest = hashlib.sha256(np.ascontiguousarray(indices, "<i8").tobytes()).hexdigest()
        self.fingerprint = fingerprint_of(("subset", source.fingerprint, digest))

    def __len__(self) -> int:
        return len(self.indices)

    def name(self, index: int) -> str:
        """That of record `index`, of a `source` that knows it."""
        return self.source.name(int(self.indices[index]))

    def read(self, index: int) -> Record:
        return self.source.read(int(self.indices[index]))


class Concatenated:
    """The records of several sources, one source behind the other.

    Labels are dropped, unless they count the same `class_names` in all of them.
    """

    def __init__(self, sources: Sequence[Source]):
        self.sources = sources
        names = {source.class_names for source in sources}
        self.class_names = names.pop() if len(names) == 1 else None
        self._ends = np.cumsum([len(source) for source in sources])
        self.faults = {
            name: reason
            for source in sources
            for name, reason in getattr(source, "faults", {}).items()
        }
        self.fingerprint = fingerprint_of(("several", *(s.fingerprint for s in sources)))

    def __len__(self) -> int:
        return int(self._ends[-1])

    def read(self, index: int) -> Record:
        number = int(np.searchsorted(self._ends, index, side="right"))
        first = int(self._ends[number - 1]) if number else 0
        record = self.sources[number].read(index - first)
        return record if self.class_names else dataclasses.replace(record, label=None)


def fingerprint_of(parts: Iterable[object]) -> str:
    """A short hash of `parts`, the same on every machine."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(repr(part).encode(errors="surrogateescape"))
        digest.update(b"\n")
    return digest.hexdigest()[:16]
