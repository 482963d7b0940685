"""What people write without this package, and how much faster it is here, on the same records.

Both sides take turns on one record after the other. Time is that of the processor, of all threads
of this process: the figures are of one core, whatever else the machine does.
"""

import dataclasses
import itertools
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from d2v_jax.data.contests.contest import PLAIN, Contest

LEAST = 5  # pairs, however long they take
Timed = tuple[float, Any]  # processor seconds, result


@dataclasses.dataclass(frozen=True)
class Beside:
    """`ratio`: how many times as fast as the plain loop, the median of `pairs`.

    `ours` and `plain` are records, of text tokens, per second of one core; `difference` is the
    mean distance of pictures from those of the plain loop, in grey levels.
    """

    what: str
    plain_loop: str
    ratio: float
    pairs: int
    ours: float
    plain: float
    difference: float | None = None


def compare(contest: Contest | None, seconds: float) -> list[Beside]:
    """Measures for `seconds`, or longer until there are a few pairs; nothing without a contest."""
    if contest is None:
        return []
    taken = _turns(contest.calls, seconds)
    plain = taken.pop(PLAIN)
    return [_beside(name, ours, plain, contest) for name, ours in taken.items()]


def _timed(call: Callable[[], Any]) -> Timed:
    began = time.process_time()
    result = call()
    return max(time.process_time() - began, 1e-9), result


def _turns(
    calls: Callable[[int], dict[str, Callable[[], Any]]], seconds: float
) -> dict[str, list[Timed]]:
    """calls(n) is called with 0, 1, 2, ... for the contestants; each round another one begins."""
    taken: dict[str, list[Timed]] = {}
    began = time.monotonic()
    for number in itertools.count():
        one = calls(number)
        names = list(one)
        first = number % len(names)
        for name in names[first:] + names[:first]:
            taken.setdefault(name, []).append(_timed(one[name]))
        if time.monotonic() - began >= seconds and number + 1 >= LEAST:
            return taken
    raise AssertionError("unreachable")


def _beside(name: str, ours: list[Timed], plain: list[Timed], contest: Contest) -> Beside:
    ours_n, plain_n = (_seconds_each(timed, contest) for timed in (ours, plain))
    difference = None
    if contest.difference:
        apart = [contest.difference(one, two) for (_, one), (_, two) in zip(ours, plain)]
        difference = float(np.mean(apart))
    return Beside(
        name,
        contest.plain_loop,
        float(np.median(plain_n / ours_n)),
        len(ours_n),
        float(1 / np.median(ours_n)),
        float(1 / np.median(plain_n)),
        difference,
    )


def _seconds_each(timed: list[Timed], contest: Contest) -> np.ndarray:
    """Of one record, or of one of what the results count."""
    if contest.count is None:
        return np.array([spent for spent, _ in timed])
    return np.array([spent / max(contest.count(result), 1) for spent, result in timed])
