"""Which modality a source is of, as far as names tell."""

import collections
import itertools
import json
import os
import pathlib

from d2v_jax.common.checks import UserError
from d2v_jax.data.modality import OURS, data_class
from d2v_jax.data.sources import joined_sources
from d2v_jax.data.stores.prepared import INDEX

MOST = 20_000  # files looked at


def modality_of(source: str) -> str:
    """ "image", "audio" or "text". Raises `UserError` where the names leave that open."""
    known = {name: data_class(name) for name in OURS}
    first = joined_sources(source)[0]
    path = pathlib.Path(first).expanduser()
    if (path / INDEX).is_file():
        return json.loads((path / INDEX).read_text())["modality"]
    for name, kind in known.items():
        if kind.looks_like(first):
            return name
    names = _names(path) if path.is_dir() else [path.name]
    counts = collections.Counter(
        modality
        for name in names
        for modality, kind in known.items()
        if name.lower().endswith(kind.suffixes)
    )
    # What lies beside others tells only where it is alone.
    alone = [modality for modality in counts if not known[modality].beside_others]
    if alone:
        counts = collections.Counter({modality: counts[modality] for modality in alone})
    if len(counts) == 1:
        return next(iter(counts))
    found = ", ".join(f"{n} {known[m].noun}s" for m, n in counts.items()) or "nothing of these"
    raise UserError(
        f"{source!r}: is it audio, image or text? Its names do not tell ({found}); say it with "
        "--modality or --config RECIPE"
    )


def _names(folder: pathlib.Path) -> list[str]:
    walk = (name for _, _, names in os.walk(folder) for name in names)
    return list(itertools.islice(walk, MOST))
