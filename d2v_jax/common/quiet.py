"""What Orbax and TensorStore say while they read that is of no use to people."""

import contextlib
import logging
import sys
from collections.abc import Iterator

LATE = "Event loop is closed"
UNASKED = "Task exception was never retrieved"
AWAITED = "_wrap_awaitable"  # asyncio's own coroutine around a future of TensorStore


@contextlib.contextmanager
def quiet_reads() -> Iterator[None]:
    """Within it a checkpoint is read.

    Orbax warns of metadata that a reader of arrays does not need. And where one array cannot be
    read, the reads of the others end, soon after, in a loop that Orbax has stopped or closed by
    then; each shows a traceback, through asyncio's logger or `sys.unraisablehook`, so that who is
    told of the failure sees a dozen others. Those stay unsaid after it, all else is said as before.
    """
    narrator, loops = logging.getLogger("absl"), logging.getLogger("asyncio")
    level, hook, filtered = narrator.level, sys.unraisablehook, _no_late_read in loops.filters
    narrator.setLevel(max(level, logging.ERROR))
    if not isinstance(hook, _ButForLateReads):
        sys.unraisablehook = _ButForLateReads(hook)
    loops.addFilter(_no_late_read)
    try:
        yield
        sys.unraisablehook = hook
        if not filtered:
            loops.removeFilter(_no_late_read)
    finally:
        narrator.setLevel(level)


def _no_late_read(record: logging.LogRecord) -> bool:
    said = record.getMessage()
    return not (said.startswith(UNASKED) and AWAITED in said)


class _ButForLateReads:
    def __init__(self, hook):
        self._hook = hook

    def __call__(self, told: "sys.UnraisableHookArgs") -> None:
        if not (told.exc_type is RuntimeError and str(told.exc_value) == LATE):
            self._hook(told)
