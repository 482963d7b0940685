"""Time: what is due, in what order. Cannot tell speech from text, never touches a gradient."""

import dataclasses
import functools
import logging
import signal
import time
import types
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax

from d2v_jax.train.report import metrics as metric
from d2v_jax.train.state import TrainState
from d2v_jax.train.step import TrainStep

log = logging.getLogger("d2v")

CONTROL = ("bad_leaf", "stop")  # metrics for the loop, not for people


class StopRequest:
    """Remembers SIGINT, SIGTERM or that time is up, so that a run ends between two steps.

    Processes that run `together` end at the same step: each tells the others through the step
    itself, and `agreed` is set when the answer is back.
    """

    def __init__(self, after_s: float = 0, together: bool = False) -> None:
        self.name: str | None = None
        self.agreed = False
        self._together = together
        self._until = time.monotonic() + after_s if after_s else None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, _: types.FrameType | None) -> None:
        if self.name and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.name = signal.Signals(number).name

    @property
    def wanted(self) -> bool:
        """Whether this process wants to end."""
        if self.name is None and self._until and time.monotonic() > self._until:
            self.name = "train.stop_after"
        return self.name is not None

    @property
    def ending(self) -> bool:
        """Whether the run ends now."""
        return self.agreed or (self.wanted and not self._together)

    def agree(self) -> None:
        self.agreed = True
        self.name = self.name or "another process"


@dataclasses.dataclass(frozen=True)
class Clock:
    """When things are due, in completed steps."""

    until: int
    log_every: int
    checkpoint_every: int
    eval_every: int = 0  # 0: never

    def eval_due(self, step: int) -> bool:
        return self.eval_every > 0 and (step % self.eval_every == 0 or step == self.until)

    def log_due(self, step: int) -> bool:
        return step % self.log_every == 0 or step == self.until

    def checkpoint_due(self, step: int) -> bool:
        return step % self.checkpoint_every == 0 or step == self.until


def fit(
    state: TrainState,
    train_step: TrainStep,
    batches: Iterator[dict[str, jax.Array]],
    *,
    start: int,
    clock: Clock,
    record: Callable[[metric.Record], None],
    save: Callable[[TrainState], None],
    stop: StopRequest,
    guard: "Guard",
    began: Callable[[int], None] = lambda step: None,
    evaluate: Callable[[TrainState], metric.Record] = lambda state: {},
) -> TrainState:
    """Runs steps `start` + 1 to `clock.until`; `step` counts completed updates.

    A step's metrics are fetched while the device works on the next one, so nothing here waits
    for the device except a full queue. Ends early, saved, when a stop is requested, or when
    `guard` has seen enough. `began(step)` is called before each step, and `evaluate` where the
    clock says so; what it finds joins the step's record.
    """
    late, metrics = None, {}
    pace = Pace()

    def settle(
        step: int,
        metrics: dict[str, Any],
        rates: metric.Record | None,
        evaluated: metric.Record | None = None,
    ) -> None:
        guard.look(step, int(metrics["bad_leaf"][0]))
        if "stop" in metrics and int(metrics["stop"][0]):
            stop.agree()
        if rates:
            told = {name: pair for name, pair in metrics.items() if name not in CONTROL}
            means = metric.finalize(jax.device_get(told))
            record({"step": step, "loss": means.pop("loss"), **means, **rates, **(evaluated or {})})

    for step in range(start + 1, clock.until + 1):
        began(step)
        batch = pace.next(batches, metrics)
        state, metrics = train_step(state, batch)
        if step == start + 1:  # compilation is no part of the speed
            jax.block_until_ready(metrics)
            pace = Pace()
        if late:
            late()
        rates = evaluated = None
        if clock.log_due(step) or clock.eval_due(step):
            rates = pace.rates()
        if clock.eval_due(step):
            evaluated = evaluate(state)
        if rates:
            pace = Pace()
        late = functools.partial(settle, step, metrics, rates, evaluated)
        ending = stop.ending or guard.full
        if ending or clock.checkpoint_due(step):
            late()  # a checkpoint never runs ahead of the history
            late = None
            save(state)
        if ending:
            break
    return state


class Guard:
    """Counts updates that were skipped because a number was not finite."""

    def __init__(self, leaves: Sequence[str], most: int):
        """`leaves`: paths in the order in which the step counts them; `most` in a row end a run."""
        self._leaves, self._most = (*leaves, "the loss"), most
        self.skipped = self.row = 0
        self.last = 0  # that was finite

    @property
    def full(self) -> bool:
        return self.row >= self._most

    def look(self, step: int, bad_leaf: int) -> None:
        """`bad_leaf`: the step's, -1 where all was finite."""
        self.row = self.row + 1 if bad_leaf >= 0 else 0
        if bad_leaf < 0:
            self.last = step
        else:
            self.skipped += 1
            where = self._leaves[bad_leaf]
            where = where if where == "the loss" else f"the gradient of {where}"
            log.warning("step %d: %s is not finite; the update is skipped", step, where)


class Pace:
    """Steps, examples and waiting since it was made."""

    def __init__(self) -> None:
        self._since, self._steps, self._examples, self._wait_s = time.monotonic(), 0, 0, 0.0

    def next(self, batches: Iterator[dict[str, jax.Array]], metrics: Any) -> dict[str, jax.Array]:
        """The next batch. `metrics`: of the last step, which tell whether the device is idle."""
        began = time.monotonic()
        batch = next(batches)
        # While the device still computes, waiting for data costs nothing.
        if all(array.is_ready() for array in jax.tree.leaves(metrics)):
            self._wait_s += time.monotonic() - began
        self._steps += 1
        self._examples += len(batch["example_id"])
        return batch

    def rates(self) -> metric.Record:
        """`data_wait_s`: seconds in which the device may have stood still for want of data."""
        seconds = max(time.monotonic() - self._since, 1e-9)
        return {
            "steps_per_s": self._steps / seconds,
            "examples_per_s": self._examples / seconds,
            "data_wait_s": self._wait_s,
        }
