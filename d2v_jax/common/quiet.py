"""What Orbax and TensorStore say while they read that is of no use to people."""

import contextlib
import logging
import sys
from collections.abc import Iterator

LATE = "Event loop is closed"


@contextlib.contextmanager
def quiet_reads() -> Iterator[None]:
    """Within it a checkpoint is read.

    Orbax warns of metadata that a reader of arrays does not need. And where one array cannot be
    read, the reads of the others end, soon after, in a loop that Orbax has closed by then; each
    shows a traceback through `sys.unraisablehook`, so that who is told of the failure sees a
    dozen others. Those stay unsaid after it, all else is said as before.
    """
    narrator = logging.getLogger("absl")
    level, hook = narrator.level, sys.unraisablehook
    narrator.setLevel(max(level, logging.ERROR))
    if not isinstance(hook, _ButForLateReads):
        sys.unraisablehook = _ButForLateReads(hook)
    try:
        yield
        sys.unraisablehook = hook
    finally:
        narrator.setLevel(level)


class _ButForLateReads:
    def __init__(self, hook):
        self._hook = hook

    def __call__(self, told: "sys.UnraisableHookArgs") -> None:
        if not (told.exc_type is RuntimeError and str(told.exc_value) == LATE):
            self._hook(told)
