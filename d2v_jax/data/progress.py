"""Signs of life from what takes long and happens once."""

import logging
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

log = logging.getLogger("d2v")
T = TypeVar("T")
EVERY_S = 5.0


def logged(items: Iterable[T], doing: str, total: int | None = None) -> Iterator[T]:
    """Passes `items` on; every five seconds a line such as "listing photos: 40 of 900"."""
    last = time.monotonic()
    for count, item in enumerate(items):
        yield item
        if time.monotonic() - last >= EVERY_S:
            last = time.monotonic()
            of = "" if total is None else f" of {total}"
            log.info("%s: %d%s", doing, count + 1, of)
