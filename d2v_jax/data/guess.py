"""Which modality a source is of, as far as names tell."""

import collections
import itertools
import json
import os
import pathlib

from d2v_jax.common.checks import UserError
from d2v_jax.data.sources import JOIN
from d2v_jax.data.stores.folder import IMAGES, SOUNDS, TEXTS

BUILTIN = {
    "builtin:photos": "image", "builtin:tones": "audio", "builtin:speech": "audio",
    "builtin:python-docs": "text",
}  # fmt: skip
KINDS = {"image": IMAGES, "audio": SOUNDS, "text": TEXTS}
MOST = 20_000  # files looked at


def modality_of(source: str) -> str:
    """ "image", "audio" or "text". Raises `UserError` where the names leave that open."""
    first = source.split(JOIN)[0].strip()
    if first in BUILTIN:
        return BUILTIN[first]
    path = pathlib.Path(first).expanduser()
    if (path / "prepared.json").is_file():
        return json.loads((path / "prepared.json").read_text())["modality"]
    if path.suffix == ".tsv":
        return "audio"
    names = _names(path) if path.is_dir() else [path.name]
    counts = collections.Counter(
        modality for name in names for modality, kind in KINDS.items()
        if name.lower().endswith(kind.suffixes)
    )  # fmt: skip
    if len(counts) > 1 and "text" in counts:
        del counts["text"]  # transcripts and lists lie beside sounds and pictures
    if len(counts) == 1:
        return next(iter(counts))
    if ".array_record" in first:
        return "image"
    found = ", ".join(f"{n} {KINDS[m].noun}s" for m, n in counts.items()) or "nothing of these"
    raise UserError(
        f"{source!r}: is it audio, image or text? Its names do not tell ({found}); say it with "
        "--modality or --config RECIPE"
    )


def _names(folder: pathlib.Path) -> list[str]:
    walk = (name for _, _, names in os.walk(folder) for name in names)
    return list(itertools.islice(walk, MOST))
