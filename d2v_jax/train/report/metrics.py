"""Numbers people read: one JSON object per logged step, TensorBoard, a progress line, warnings."""

import contextlib
import json
import logging
import math
import pathlib
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary

from d2v_jax.common.files import named, write_whole
from d2v_jax.encoder.objective import Objective

log = logging.getLogger("d2v")

Record = dict[str, Any]
FILE = "metrics.jsonl"


def finalize(metrics: Mapping[str, tuple[Any, Any]]) -> dict[str, float]:
    """(sum, count) -> mean; what counted nothing is left out."""
    return {
        name: float(total) / float(count)
        for name, (total, count) in metrics.items()
        if float(count) > 0
    }


class History:
    """`metrics.jsonl` and TensorBoard events of a run; never holds a step twice.

    On opening, whatever lies beyond `step` (the checkpoint a run continues from) is cut off,
    a half-written last line included.
    """

    def __init__(self, workdir: pathlib.Path, step: int):
        self.path, self._board = workdir / FILE, Board(workdir / "tensorboard", step)
        kept = [line for line in self._lines() if json.loads(line)["step"] <= step]
        write_whole(self.path, "".join(kept))
        self._file = open(self.path, "a", buffering=1)

    def _lines(self) -> list[str]:
        lines = self.path.read_text().splitlines(keepends=True) if self.path.exists() else []
        return [line for line in lines if line.endswith("}\n") and line.startswith("{")]

    def write(self, record: Record) -> None:
        """Appends one record; it must hold `step`. What is not finite becomes null.

        Raises `OSError` with the file's name where the disk takes no more.
        """
        finite = {name: value if math.isfinite(value) else None for name, value in record.items()}
        with named(self.path):
            self._file.write(json.dumps(finite) + "\n")
        self._board.write(finite)

    def close(self) -> None:
        with named(self.path):
            self._file.close()
        self._board.close()


class Board:
    """The same numbers as TensorBoard's events, on the disk at most two minutes later.

    Written by who asks: the library's SummaryWriter has a thread for it, which a full disk ends,
    and then waits for that thread for ever.
    """

    FLUSH_S = 120

    def __init__(self, folder: pathlib.Path, step: int):
        self._folder, self._flushed = folder, time.monotonic()
        with named(folder):
            folder.mkdir(exist_ok=True)
            self._events = EventsWriter(str(folder / "events"), f".{step}")
        if step:  # hides what an earlier process wrote beyond it
            self._add(step=step + 1, session_log=SessionLog(status=SessionLog.START))

    def write(self, record: Record) -> None:
        """Appends what a record holds beside its `step` and is not None."""
        told = {name: value for name, value in record.items() if name != "step"}
        values = [
            Summary.Value(tag=name, simple_value=value)
            for name, value in told.items()
            if value is not None
        ]
        if values:
            self._add(step=record["step"], summary=Summary(value=values))
        if time.monotonic() - self._flushed > self.FLUSH_S:
            self._flush()

    def _add(self, **event: Any) -> None:
        with named(self._folder):
            self._events.write_event(Event(wall_time=time.time(), **event))

    def _flush(self) -> None:
        with named(self._folder):
            self._events.flush()
        self._flushed = time.monotonic()

    def close(self) -> None:
        with named(self._folder):
            self._events.close()


def ends_unfinished(workdir: pathlib.Path) -> bool:
    """Whether the last record of a run has a loss that was not finite."""
    try:
        last = (workdir / FILE).read_text().splitlines()[-1:]
        return any(json.loads(line).get("loss", 0) is None for line in last)
    except (OSError, ValueError):
        return False


class Progress:
    """One line: step, loss, speed, time left. Rewritten in place on a terminal."""

    def __init__(self, until: int, shown: Sequence[str] = (), quiet_s: float = 5.0):
        """`shown`: metrics beside the loss."""
        self.until, self.quiet_s, self._shown = until, quiet_s, shown
        self._live = sys.stderr.isatty()
        self._last = -quiet_s

    def show(self, record: Record) -> None:
        """Shows a record; off a terminal at most once in `quiet_s` seconds, and at the end."""
        now, step = time.monotonic(), record["step"]
        if not self._live and now - self._last < self.quiet_s and step < self.until:
            return
        self._last = now
        line = f"step {step}/{self.until}  loss {record['loss']:.4f}"
        line += "".join(f"  {name.replace('_', ' ')} {record[name]:.2f}" for name in self._shown)
        if speed := record["steps_per_s"]:  # unknown while the first step compiles
            line += (
                f"  {record['examples_per_s']:.0f} examples/s  "
                f"ETA {clock((self.until - step) / speed)}"
            )
        end = "\n" if not self._live or step == self.until else ""
        with contextlib.suppress(OSError):  # nobody listens any more, and the run goes on
            sys.stderr.write(("\r\x1b[K" if self._live else "") + line + end)
            sys.stderr.flush()


def clock(seconds: float) -> str:
    """75 -> "1:15"; 4000 -> "1:06:40"."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


class Watch:
    """Says in words when a run goes wrong; each trouble once per run."""

    PATIENCE = 5  # records in a row, so that a noisy start does not cry wolf

    def __init__(self, objective: Objective, warmup_steps: int) -> None:
        self._objective, self._warmup_steps = objective, warmup_steps
        self._rows: dict[str, int] = {}  # records in a row with this trouble

    def look(self, record: Record) -> list[str]:
        """Returns the new warnings, and logs them."""
        found = self._objective.troubles(record, record["step"] > self._warmup_steps)
        self._rows = {name: self._rows.get(name, 0) + 1 for name in found}
        new = [
            f"step {record['step']}: {words}"
            for name, words in found.items()
            if self._rows[name] == self.PATIENCE
        ]
        for words in new:
            log.warning("%s", words)
        return new
