"""What `d2v data bench` compares: our way of cutting examples, and a plain loop."""

import dataclasses
from collections.abc import Callable
from typing import Any

PLAIN = "plain"


@dataclasses.dataclass(frozen=True)
class Contest:
    """Who takes turns, and what is made of the results.

    `calls(n)` are the n-th tasks of all contestants by their names, one of which is `PLAIN`.
    `plain_loop` says what that does. `counted` is what is compared: a task is one record, or a
    result has `count` of it. `difference` is the distance of a result from the plain one, if there
    is one to tell.
    """

    plain_loop: str
    calls: Callable[[int], dict[str, Callable[[], Any]]]
    counted: str = "records"
    count: Callable[[Any], int] | None = None
    difference: Callable[[Any, Any], float] | None = None
