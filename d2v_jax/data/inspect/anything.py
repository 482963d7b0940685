"""Looking at records of which nothing is known but how they are cut."""

import functools

import numpy as np

from d2v_jax.data.inspect.findings import Findings, chosen, each, range_of
from d2v_jax.data.opened import Opened
from d2v_jax.data.records import Record


def look(opened: Opened, name: str, nouns: str, sample: int | None) -> Findings:
    """All records, or `sample` of them, each cut once, so that all is tried that training does."""
    count = len(opened.source)
    numbers = chosen(count, sample)
    found = Findings(name, opened.source.fingerprint, count, len(numbers))
    found.bad.update(getattr(opened.source, "faults", {}))
    length = min(length for length, _ in opened.buckets)
    one = functools.partial(_one, opened=opened, length=length)
    seen = list(each(opened.source, numbers, one, found))
    sizes_n = np.array([size for size, _ in seen], np.int64)
    looked = f"{len(numbers):,} of {count:,}" if len(numbers) < count else f"{count:,}"
    found.facts = {
        nouns: looked,
        "readable": f"{len(seen):,}",
        "megabytes": f"{sizes_n.sum() / 1e6:,.1f}",
        "bytes": f"{range_of(sizes_n)} (least / median / most)",
    }
    for key in sorted({key for _, shapes in seen for key in shapes}):
        found.facts[f"shape of {key}"] = ", ".join(
            sorted({str(list(shapes[key])) for _, shapes in seen if key in shapes})
        )
    found.numbers = {"readable": len(seen), "bytes": int(sizes_n.sum())}
    found.histograms = {"bytes": sizes_n}
    return found


def _one(record: Record, opened: Opened, length: int) -> tuple[int, dict[str, tuple[int, ...]]]:
    """Bytes of a record, and the shapes of the arrays that it is cut to."""
    size = record.size
    example = opened.cut(record, np.random.default_rng(0), length)
    return size, {key: np.shape(array) for key, array in example.items()}
