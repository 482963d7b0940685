"""Two sets of named arrays, compared bit for bit."""

import dataclasses
from collections.abc import Mapping

import numpy as np


@dataclasses.dataclass(frozen=True)
class Difference:
    """The first quantity that differs, where it differs most."""

    quantity: str
    before: float | str
    now: float | str
    relative: float | None  # to the largest number of that quantity; None: not of one shape
    others: int  # how many more quantities differ

    def __str__(self) -> str:
        size = "" if self.relative is None else f", relative {self.relative:.2e}"
        return f"{self.quantity}: {self.before} -> {self.now}{size}; {self.others} more differ"


def difference(
    before: Mapping[str, np.ndarray], now: Mapping[str, np.ndarray]
) -> Difference | None:
    """None where all quantities that both have are equal bit for bit.

    The order is that of `before`. Raises `ValueError` where they share none.
    """
    shared = [name for name in before if name in now]
    if not shared:
        raise ValueError("the two checkouts share no quantity")
    differing = [name for name in shared if not _equal(before[name], now[name])]
    if not differing:
        return None
    name = differing[0]
    a, b, others = before[name], now[name], len(differing) - 1
    if a.shape != b.shape or a.dtype != b.dtype:
        return Difference(name, f"{a.dtype}{a.shape}", f"{b.dtype}{b.shape}", None, others)
    a, b = a.ravel(), b.ravel()
    bits = lambda x: x.view(np.uint8).reshape(x.size, -1)
    places = np.flatnonzero((bits(a) != bits(b)).any(1))
    wide_a, wide_b = a.astype(np.float64), b.astype(np.float64)
    # A number and something that is none are as far apart as can be.
    apart = np.nan_to_num(np.abs(wide_a - wide_b)[places], nan=np.inf)
    where = places[apart.argmax()]
    both = np.concatenate([wide_a, wide_b])
    largest = np.abs(both[np.isfinite(both)]).max(initial=0)
    relative = float(apart.max() / largest) if apart.max() else 0.0  # 0: signs of zeros
    return Difference(name, a[where].item(), b[where].item(), relative, others)


def _equal(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
