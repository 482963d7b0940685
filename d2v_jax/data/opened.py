"""A modality's sources, opened: what the loader needs to know, and what a batch consists of."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from d2v_jax.data.records import Concatenated, Example, Record, Source


class Form(NamedTuple):
    """Shape and kind of one array of a batch."""

    shape: tuple[int, ...]
    dtype: type[np.generic]


@dataclasses.dataclass(frozen=True)
class Opened:
    """What the loader needs to know of a modality. Pickles.

    `source` holds the records of all mixed sources, one behind the other, `sizes` of them each.
    `cut(record, rng, length)` makes an example of a record and raises `BadRecord` where it
    cannot; `follows` are the settings its result depends on. `buckets` are pairs of a length and
    the record numbers that are cut to it.
    """

    source: Source
    sizes: tuple[int, ...]
    buckets: tuple[tuple[int, np.ndarray], ...]
    cut: Callable[[Record, np.random.Generator, int], Example]
    follows: tuple[object, ...]


def joined(
    sources: Sequence[Source],
    cut: Callable[[Record, np.random.Generator, int], Example],
    follows: tuple[object, ...],
    length: int,
    buckets: tuple[tuple[int, np.ndarray], ...] | None = None,
) -> Opened:
    """`Opened` of one or several sources; without `buckets` every record is cut to `length`."""
    sizes = tuple(map(len, sources))
    source = sources[0] if len(sources) == 1 else Concatenated(sources)
    return Opened(source, sizes, buckets or ((length, np.arange(sum(sizes))),), cut, follows)
