"""What no input may do: raise what is no sentence or show it, hang, fill the memory, run code."""

import contextlib
import pathlib
import resource
import signal
import sys
import traceback
from collections.abc import Iterator

from d2v_jax.common.checks import UserError, visible
from d2v_jax.data.records import BadRecord

SECONDS = 20  # of one input
BYTES = 2 << 30  # of memory beside what is there before a seed's inputs
# What running something would raise among Python's audit events.
RUNS = (
    "os.system",
    "os.exec",
    "os.fork",
    "os.forkpty",
    "os.posix_spawn",
    "os.spawn",
    "subprocess.Popen",
    "pickle.find_class",
    "pty.spawn",
    "socket.connect",
    "webbrowser.open",
)

_watch = {"armed": False, "hooked": False, "seen": "", "shown": ""}


class Fault(AssertionError):
    """An input did what no input may do."""


class Hang(BaseException):
    """Not caught by handlers of `Exception`."""


@contextlib.contextmanager
def judged() -> Iterator[None]:
    """Lets pass what people are told in a sentence; everything else is a finding."""
    _hook()
    before = signal.signal(signal.SIGALRM, _hang)
    signal.alarm(SECONDS)
    _watch.update(armed=True, seen="")
    try:
        yield
    except (UserError, BadRecord) as error:
        words = str(error)
        if not words.strip() or words != visible(words):
            raise Fault(f"a message with control codes or none: {words!r}") from error
    except Hang:
        raise Fault(f"hangs for more than {SECONDS} s") from None
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        _watch["armed"] = False
    if _watch["seen"]:
        raise Fault(f"ran something: {_watch['seen']}")
    if shown := _watch["shown"]:  # of this input, or late of one before
        _watch["shown"] = ""
        raise Fault(f"a traceback beside the answer: {shown}")


def limit_memory() -> None:
    """From now on this process may take `BYTES` more than it has."""
    sizes = pathlib.Path("/proc/self/statm").read_text().split()
    most = int(sizes[0]) * resource.getpagesize() + BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))


def place_of(error: BaseException) -> str:
    """Kind and line of an error, by which findings are told apart."""
    if isinstance(error, Fault):
        return f"fault: {str(error)[:40]}"
    frames = traceback.extract_tb(error.__traceback__)
    inside = [frame for frame in frames if "d2v_jax/" in frame.filename] or frames
    return f"{type(error).__name__} in {inside[-1].filename.split('/')[-1]}:{inside[-1].lineno}"


def _hook() -> None:
    if not _watch["hooked"]:
        _watch["hooked"] = True
        sys.addaudithook(_audit)
        sys.unraisablehook = _shown


def _audit(event: str, arguments: tuple) -> None:
    if _watch["armed"] and event in RUNS:
        _watch["seen"] = f"{event} {arguments!r}"[:200]
        raise Fault(_watch["seen"])


def _shown(told: "sys.UnraisableHookArgs") -> None:
    """What was raised where nobody can catch it, which Python prints."""
    _watch["shown"] = f"{told.exc_type.__name__}: {told.exc_value}"[:200]


def _hang(number: int, frame: object) -> None:
    raise Hang
