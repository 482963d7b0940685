"""What features are asked: examples with labels, and how an encoder is made to answer."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from d2v_jax.common.checks import UserError, require
from d2v_jax.data.labelled.chosen import share
from d2v_jax.data.records import Record

TRAIN_SHARE = 0.7  # of the records of a source that has no test split of its own

Pair = tuple[np.ndarray, np.ndarray]  # of the examples to learn from, and of those to test
Encode = Callable[..., Any]  # (examples, pool="mean") -> their features, as `Encoder.features`


@dataclasses.dataclass(frozen=True)
class Task:
    """Which class does each example belong to? `noun`: what one is, in the plural."""

    name: str
    noun: str
    labels: Pair  # int32 [n] each


@dataclasses.dataclass(frozen=True)
class Exam:
    """`features(encode)` gives float32 [n, d] pairs, one per task; of None, the `baseline`'s."""

    baseline: str
    tasks: tuple[Task, ...]
    features: Callable[[Encode | None], list[Pair]]


def require_split(split: str) -> None:
    """Raises `ConfigError` unless it is one of the two."""
    require(split in ("train", "test"), f"split={split!r}: must be 'train' or 'test'")


def of_folder(
    source: Any,
    example: Callable[[Record], np.ndarray],
    count: int,
    noun: str,
    baseline: tuple[str, Callable[[np.ndarray], np.ndarray]],
) -> Exam:
    """Which sub-folder is an example from? 70 % are learnt from, by the hash of their names.

    `source` is a `stores.folder.Folder` with classes, `example` makes what an encoder is given of
    a record, at most `count` in each part; `baseline` are a name, and features [n, d] that need no
    encoder. Raises `UserError` where there are no sub-folders, or too few files.
    """
    if source.class_names is None:
        raise UserError(f"{source.root} has no sub-folder per class, and a probe needs labels")
    learnt = np.array([share(name) < TRAIN_SHARE for name in source.names])
    parts = [np.flatnonzero(learnt)[:count], np.flatnonzero(~learnt)[:count]]
    if not all(map(len, parts)):
        raise UserError(f"{source.root} has too few {noun} to learn from some and test on others")
    inputs = [np.stack([example(source.read(int(index))) for index in part]) for part in parts]
    labels = tuple(np.array([source.label(int(i)) for i in part], np.int32) for part in parts)

    def features(encode: Encode | None) -> list[Pair]:
        run = baseline[1] if encode is None else encode
        return [tuple(np.asarray(run(some)) for some in inputs)]

    return Exam(baseline[0], (Task("folder", noun, labels),), features)
