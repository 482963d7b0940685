"""What `data.source` may say: the rules that the names of all modalities' sources follow."""

import difflib
import re
from collections.abc import Sequence
from typing import NamedTuple

from d2v_jax.common.checks import UserError
from d2v_jax.common.names import place

JOIN = " + "  # between the sources of `data.source`
BUILTIN_PREFIX = "builtin:"
PHOTOS = "builtin:photos"
TONES = "builtin:tones"
SPEECH = "builtin:speech"
PYTHON_DOCS = "builtin:python-docs"


def joined_sources(source: str) -> list[str]:
    """The sources that `source` joins; a folder or file that has `JOIN` in its name is one."""
    parts, found = source.split(JOIN), []
    while parts:
        ends = range(len(parts), 1, -1)
        runs = (n for n in ends if place(JOIN.join(parts[:n]).strip()).exists())
        taken = next(runs, 1)
        found.append(JOIN.join(parts[:taken]).strip())
        parts = parts[taken:]
    return found


def named(source: str, known: str) -> str:
    """`source` without blanks around it; raises `UserError` where it is empty, `known` says what
    it may be.
    """
    source = source.strip()
    if not source:
        raise UserError(f"data.source is empty; give {known}")
    return source


class Part(NamedTuple):
    """Of a split the records whose share (`labelled.chosen.share`) lies in [low, high)."""

    split: str
    low: float = 0.0
    high: float = 1.0

    @property
    def whole(self) -> bool:
        return (self.low, self.high) == (0.0, 1.0)


PART = re.compile(r"(\w+)\[(?:(\d{1,3})%)?:(?:(\d{1,3})%)?\]")


def part_of(split: str) -> Part:
    """ "train[:70%]" -> Part("train", 0, .7), of sources other than TFDS's."""
    found = PART.fullmatch(split)
    if not found:
        return Part(split)
    low, high = int(found[2] or 0) / 100, int(found[3] or 100) / 100
    if not low < high <= 1:
        raise UserError(f"data.split={split!r} is an empty part; write it as in train[:70%]")
    return Part(found[1], low, high)


def only_train(source: str, split: str, known: Sequence[str] = ("train",)) -> None:
    """Raises `UserError` for a split that a source does not have."""
    if split not in known:
        raise UserError(
            f"data.split={split!r}: {source!r} has the split {' and '.join(known)}, and only "
            "tfds:NAME sources have others; labelled examples can be parted: train[:70%], "
            "train[70%:]"
        )


def check_builtin(source: str, *known: str) -> None:
    """Raises `UserError` unless `source` is one of the built-in sets of its modality."""
    if source in known:
        return
    sets = " and ".join(known)
    if source in (PHOTOS, SPEECH, TONES, PYTHON_DOCS):
        raise UserError(
            f"data.source={source!r} is of another modality than this recipe, which knows the "
            f"built-in {sets}"
        )
    near = difflib.get_close_matches(source, known, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]}?" if near else ""
    raise UserError(f"data.source={source!r}: there is no such built-in set; known: {sets}.{hint}")
