"""What features are asked: examples with labels, and how an encoder is made to answer."""

import dataclasses
import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np

from d2v_jax.common.checks import require

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


def share(name: str) -> float:
    """A number in [0, 1) that follows from the name alone, on every machine."""
    digest = hashlib.sha256(name.encode(errors="surrogateescape")).digest()
    return int.from_bytes(digest[:6], "big") / 2**48
