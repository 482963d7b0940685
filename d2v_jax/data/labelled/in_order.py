"""Labelled examples one after the other, for evaluation."""

import logging
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from d2v_jax.data.labelled.labels import Labelled
from d2v_jax.data.records import BadRecord, Record, Source

log = logging.getLogger("d2v")


def read(
    source: Source,
    inputs: Callable[[Record], np.ndarray],
    label: Callable[[Record], Any] = lambda record: record.label,
) -> Iterator[Labelled]:
    """All that are readable; the others are named, and counted at the end."""
    skipped = 0
    for index in range(len(source)):
        name = f"record {index}"
        try:
            record = source.read(index)
            name = record.name
            one = Labelled(name, inputs(record), label(record))
        except BadRecord as bad:
            skipped += 1
            log.warning("skipped %s: %s", bad.name or name, bad.reason)
            continue
        yield one
    if skipped:
        log.warning("%d of %d examples were left out", skipped, len(source))
