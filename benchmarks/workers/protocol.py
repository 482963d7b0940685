"""What every contestant says and hears: JSON lines over its own pipes."""

import json
import math
import os
import sys
import time
from collections.abc import Callable
from typing import Any

BURST_S = 0.25  # a turn takes at least so long
WARM_UP = 2

Step = Callable[[], Any]  # starts one whole update; returns its loss, which `float` waits for
Answer = Callable[..., None]


def answering() -> Answer:
    """A function that says its arguments; whatever libraries print goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(**fields: Any) -> None:
        answers.write(json.dumps(fields) + "\n")
        answers.flush()

    return answer


def serve(
    build: Callable[[dict[str, Any]], tuple[Step, dict[str, Any]]],
    wait: Callable[[Any], Any],
) -> None:
    """Runs `build(spec)`'s step whenever a line comes in, until there are no more.

    `wait(loss)` returns when the device has done all of the step that the loss is of: between the
    steps of a turn nobody waits, as in training. A turn's first step is not timed: while others
    had theirs, a machine's host may have taken back the memory that was freed in the last one.
    Answers {"ready": facts} once, then {"seconds": per step} each time. The first step may add to
    the facts.
    """
    answer = answering()
    try:
        step, facts = build(json.loads(sys.argv[1]))
        first = float(step())
        for _ in range(WARM_UP):
            took = _timed(step, wait, 1)
        count = max(1, math.ceil(BURST_S / took))
        answer(ready={**facts, "first_loss": first, "steps_per_turn": count})
        for _ in sys.stdin:
            _timed(step, wait, 1)
            answer(seconds=_timed(step, wait, count) / count)
    except Exception as error:
        answer(error=f"{type(error).__name__}: {error}".partition("\n")[0])
        raise SystemExit(1) from error


def _timed(step: Step, wait: Callable[[Any], Any], count: int) -> float:
    began = time.perf_counter()
    for _ in range(count):
        loss = step()
    wait(loss)
    return time.perf_counter() - began
