"""Where the hours of a run went: starting, compiling, waiting for data, saving, and learning."""

import contextlib
import json
import pathlib
import time
from collections.abc import Iterator

import jax

from d2v_jax.common.files import write_whole

FILE = "goodput.json"
PARTS = ("start", "compile", "data", "checkpoint", "evaluation")
COMPILED = "/jax/core/compile/backend_compile_duration"


class Goodput:
    """Seconds of this call by what they were spent on; `goodput.json` holds those of every call."""

    def __init__(self, workdir: pathlib.Path):
        self._path = workdir / FILE
        self._begun = time.monotonic()
        self._seconds = dict.fromkeys(PARTS, 0.0)
        self._compilations = 0
        self._earlier = json.loads(self._path.read_text()) if self._path.exists() else []
        jax.monitoring.register_event_duration_secs_listener(self._heard)

    def _heard(self, event: str, seconds: float, **_: str | int) -> None:
        if event == COMPILED:
            self._seconds["compile"] += seconds
            self._compilations += 1

    def started(self) -> None:
        """The first step is about to begin."""
        self._seconds["start"] = time.monotonic() - self._begun - self._seconds["compile"]

    def add(self, what: str, seconds: float) -> None:
        self._seconds[what] += seconds

    @contextlib.contextmanager
    def timed(self, what: str) -> Iterator[None]:
        began, compiled = time.monotonic(), self._seconds["compile"]
        yield
        compiled = self._seconds["compile"] - compiled  # counts there
        self.add(what, time.monotonic() - began - compiled)

    def write(self, first: int, last: int) -> None:
        """Steps `first` + 1 to `last` were made. Replaces what this call wrote before."""
        total = time.monotonic() - self._begun
        spent = {name: round(seconds, 3) for name, seconds in self._seconds.items()}
        record = {
            "steps": [first, last],
            "seconds": {**spent, "productive": round(total - sum(spent.values()), 3)},
            "goodput": round(1 - sum(spent.values()) / total, 4),
            "compilations": self._compilations,
            "device_memory_peak_bytes": device_memory_peak(),
        }
        write_whole(self._path, json.dumps([*self._earlier, record], indent=2) + "\n")


def device_memory_peak() -> int | None:
    """The most bytes in use so far on the fullest local device; None where that is not counted."""
    peaks = [
        (device.memory_stats() or {}).get("peak_bytes_in_use") for device in jax.local_devices()
    ]
    known = [peak for peak in peaks if peak is not None]
    return max(known) if known else None


class Profile:
    """A trace of some steps, for TensorBoard's profiler, in `workdir`/profile."""

    def __init__(self, workdir: pathlib.Path, steps: tuple[int, int] | None):
        self._folder, self._steps, self._running = workdir / "profile", steps, False

    def before(self, step: int) -> None:
        """Called before each step."""
        if self._steps and not self._running and self._steps[0] <= step <= self._steps[1]:
            jax.profiler.start_trace(str(self._folder))
            self._running = True
        elif self._running and step > self._steps[1]:
            self.end()

    def end(self) -> None:
        if self._running:
            jax.profiler.stop_trace()
            self._running, self._steps = False, None
