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
    batch_size: int,
    record: Callable[[metric.Record], None],
    save: Callable[[TrainState], None],
    stop: StopRequest,
) -> TrainState:
    """Runs steps `start` + 1 to `clock.until`; `step` counts completed updates.

    A step's metrics are fetched while the device works on the next one, so nothing here waits
    for the device except a full queue. Ends early, saved, when a stop is requested.
    """
    late = None
    since, since_step = time.monotonic(), start
    for step in range(start + 1, clock.until + 1):
        state, metrics = train_step(state, next(batches))
        if step == start + 1:  # compilation is no part of the speed
            jax.block_until_ready(metrics)
            since, since_step = time.monotonic(), step
        if late:
            record(late())
            late = None
        if clock.log_due(step):
            now = time.monotonic()
            speed = (step - since_step) / max(now - since, 1e-9)
            since, since_step = now, step
            late = _late(step, metrics, speed, batch_size)
        ending = stop.name is not None
        if (ending or clock.checkpoint_due(step)) and late:
            record(late())  # a checkpoint never runs ahead of the history
            late = None
        if ending or clock.checkpoint_due(step):
            save(state)
        if ending:
            break
    return state


def _late(
    step: int, metrics: dict[str, Any], speed: float, batch_size: int
) -> Callable[[], metric.Record]:
    """The record of a step, divided and fetched only when called."""

    def fetch() -> metric.Record:
        means = metric.finalize(jax.device_get(metrics))
        rates = {"steps_per_s": speed, "examples_per_s": speed * batch_size}
        return {"step": step, "loss": means.pop("loss"), **means, **rates}

    return fetch
