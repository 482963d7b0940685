"""Time: what is due, in what order. Cannot tell speech from text, never touches a gradient."""

import dataclasses
import signal
import time
import types
from collections.abc import Callable, Iterator
from typing import Any

import jax

from d2v_jax.train import metrics as metric
from d2v_jax.train.state import TrainState
from d2v_jax.train.step import TrainStep


class StopRequest:
    """Remembers SIGINT or SIGTERM, so that a run ends between two steps."""

    def __init__(self) -> None:
        self.name: str | None = None
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


@dataclasses.dataclass(frozen=True)
class Clock:
    """When things are due, in completed steps."""

    until: int
    log_every: int
    checkpoint_every: int

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
) -> TrainState:
    """Runs steps `start` + 1 to `clock.until`; `step` counts completed updates.

    A step's metrics are fetched while the device works on the next one, so nothing here waits
    for the device except a full queue. Ends early, saved, when a stop is requested.
    """
    late, metrics = None, {}
    pace = Pace()
    for step in range(start + 1, clock.until + 1):
        batch = pace.next(batches, metrics)
        state, metrics = train_step(state, batch)
        if step == start + 1:  # compilation is no part of the speed
            jax.block_until_ready(metrics)
            pace = Pace()
        if late:
            record(late())
            late = None
        if clock.log_due(step):
            late = _late(step, metrics, pace.rates())
            pace = Pace()
        ending = stop.name is not None
        if (ending or clock.checkpoint_due(step)) and late:
            record(late())  # a checkpoint never runs ahead of the history
            late = None
        if ending or clock.checkpoint_due(step):
            save(state)
        if ending:
            break
    return state


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


def _late(step: int, metrics: dict[str, Any], rates: metric.Record) -> Callable[[], metric.Record]:
    """The record of a step, divided and fetched only when called."""

    def fetch() -> metric.Record:
        means = metric.finalize(jax.device_get(metrics))
        return {"step": step, "loss": means.pop("loss"), **means, **rates}

    return fetch
