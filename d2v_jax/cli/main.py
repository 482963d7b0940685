"""The `d2v` command: one sub-command per task. Errors people caused come without a traceback."""

import argparse
import contextlib
import io
import logging
import os
import sys
import threading
import warnings
from typing import Any

from d2v_jax.cli import bench, data, encoders, runs, supervised, units
from d2v_jax.cli.troubles import sentence_of
from d2v_jax.common import buckets, settings
from d2v_jax.common.names import ESCAPED

log = logging.getLogger("d2v")

PIPE_CLOSED = 141  # as the shell has it of a program that SIGPIPE ended
INTERRUPTED = 130

# Tasks whose other words set fields of a recipe.
WITH_FIELDS = ("pretrain", "finetune", "sweep", "data", "bench")


def main(argv: list[str] | None = None) -> int:
    """Parses the command line, runs one task, returns the exit code."""
    _open_streams()
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    log.setLevel(logging.INFO)
    # Orbax narrates every file it opens, and what it raises in the end; so do its many tasks.
    for narrator in ("absl", "asyncio"):
        logging.getLogger(narrator).setLevel(logging.CRITICAL)
    sys.unraisablehook = _unless_foreign
    # Pillow's warnings name no file; what cannot be used is named where it is left out.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    parser = _parser()
    code = _run(parser, argv)
    # What cannot be written when Python ends would change the exit code.
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return code


def _unless_foreign(unraisable: Any) -> None:
    """Shows what could not be raised, but for what threads of TensorStore say of broken saves."""
    if unraisable.object is not None or threading.current_thread() is threading.main_thread():
        sys.__unraisablehook__(unraisable)


def _run(parser: argparse.ArgumentParser, argv: list[str] | None) -> int:
    task = "d2v"
    try:
        args, rest = parser.parse_known_args(argv)
        task = f"d2v {args.task}"
        if rest and not (args.task in WITH_FIELDS or getattr(args, "plan", False)):
            parser.error(f"unrecognized arguments: {' '.join(rest)}")
        for value in vars(args).values():
            if isinstance(value, os.PathLike):
                buckets.reach(value)
        # Some tasks do without JAX, and need not wait for it.
        with settings.fixed() if settings.exported() else contextlib.nullcontext():
            code = args.run(args, rest)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # `| head` has read enough
        return PIPE_CLOSED
    except KeyboardInterrupt:
        _say(f"{task}: interrupted")
        return INTERRUPTED
    except Exception as error:
        if (found := sentence_of(error)) is None:
            raise
        _say(f"{task}: {found.words}")
        return found.code


def _say(words: str) -> None:
    with contextlib.suppress(OSError):  # nobody listens any more
        print(words, file=sys.stderr, flush=True)


def _open_streams() -> None:
    """Streams that were closed before we began lead nowhere, and no file takes their place.

    What an alphabet of the terminal does not have is written with its number.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=ESCAPED)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="d2v", description="data2vec 1.0 and 2.0 in JAX", allow_abbrev=False
    )
    tasks = parser.add_subparsers(dest="task", required=True, metavar="task")

    def task(name, run, summary, more=None):
        sub = tasks.add_parser(
            name,
            help=summary,
            description=summary,
            epilog=more,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.set_defaults(run=run)
        return sub

    # Each task imports what it needs itself: `d2v --help` should not wait for JAX.
    for family in (runs, supervised, encoders, units, bench, data):
        family.add(task)
    return parser
