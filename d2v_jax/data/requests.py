"""Inputs of people, for features: examples by name, and batches of few shapes."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from d2v_jax.common.checks import UserError


class Batch(NamedTuple):
    """`arrays` as the loader gives them; row i is input `order[i]`, later rows fill.

    `lengths_b` int32 [b] are the valid lengths of padded inputs; None where all is valid, or
    padding is told by its values.
    """

    order: list[int]
    arrays: dict[str, np.ndarray]
    lengths_b: np.ndarray | None = None


@dataclasses.dataclass
class Named:
    """Pairs of a name and an example, and what became of the others while they are taken.

    `cut` were longer and are cut to their first `end`; `skipped` are too short.
    """

    examples: Iterator[tuple[str, np.ndarray]]
    end: str = ""
    cut: int = 0
    skipped: int = 0


def equal_rows(
    inputs: Any,
    shape: tuple[int, ...],
    dtype: np.dtype,
    size: int,
    nouns: str,
    values: str = "",
    remedy: str = "",
) -> Iterator[Batch]:
    """Examples that all have `shape` and `dtype`, `size` in a batch.

    `values` says what they are made of, `remedy` what to do where their shapes differ. Raises
    `UserError` for what does not fit.
    """
    wanted = f"[b, {', '.join(map(str, shape))}]"
    try:
        inputs_b = np.asarray(inputs)
    except ValueError:
        raise UserError(
            f"the {nouns} differ in shape; this encoder takes {wanted}{remedy}"
        ) from None
    if inputs_b.ndim != 1 + len(shape) or inputs_b.shape[1:] != shape:
        raise UserError(
            f"{nouns} of shape {inputs_b.shape} do not fit this encoder; it takes {wanted}"
        )
    if inputs_b.dtype != dtype:
        raise UserError(f"{nouns} are {inputs_b.dtype}; give {values or dtype}")
    for start in range(0, len(inputs_b), size):
        part = inputs_b[start : start + size]
        padded = np.zeros((size, *shape), dtype)
        padded[: len(part)] = part
        yield Batch(list(range(start, start + len(part))), {"inputs": padded})


def by_length(lengths: Sequence[int], shortest: int) -> dict[int, list[int]]:
    """Padded length -> inputs that are padded to it: powers of two and halves between them."""
    groups: dict[int, list[int]] = {}
    for index, length in enumerate(lengths):
        size = shortest
        while size * 3 // 2 < length:
            size *= 2
        groups.setdefault(size if length <= size else size * 3 // 2, []).append(index)
    return dict(sorted(groups.items()))
