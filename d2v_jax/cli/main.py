"""The `d2v` command: one sub-command per task. Errors people caused come without a traceback."""

import argparse
import errno
import logging
import os
import sys
import warnings

from d2v_jax.cli import bench, data, encoders, runs, supervised, units
from d2v_jax.common import buckets
from d2v_jax.common.checks import UserError

log = logging.getLogger("d2v")

# Troubles of the machine, not of the program: full or read-only disks, missing permissions.
OUTSIDE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)


# Tasks whose other words set fields of a recipe.
WITH_FIELDS = ("pretrain", "finetune", "sweep", "data", "bench")


def main(argv: list[str] | None = None) -> int:
    """Parses the command line, runs one task, returns the exit code."""
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    log.setLevel(logging.INFO)
    if hasattr(sys.stdout, "reconfigure"):  # names need not be writable in what the screen knows
        sys.stdout.reconfigure(errors="backslashreplace")
    logging.getLogger("absl").setLevel(logging.ERROR)  # Orbax narrates every file it opens
    # Pillow's warnings name no file; what cannot be used is named where it is left out.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    parser = _parser()
    task = "d2v"
    try:
        args, rest = parser.parse_known_args(argv)
        task = f"d2v {args.task}"
        if rest and not (args.task in WITH_FIELDS or getattr(args, "plan", False)):
            parser.error(f"unrecognized arguments: {' '.join(rest)}")
        for value in vars(args).values():
            if isinstance(value, os.PathLike):
                buckets.reach(value)
        code = args.run(args, rest)
        sys.stdout.flush()
        return code
    except UserError as error:
        print(f"{task}: {error}", file=sys.stderr)
        return error.code
    except BrokenPipeError:  # `| head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:
        if said := _outside(error):
            print(f"{task}: {said}", file=sys.stderr)
            return 2
        raise
    except KeyboardInterrupt:
        print(f"{task}: interrupted", file=sys.stderr)
        return 130


def _outside(error: Exception) -> str | None:
    """What to say of a trouble that the program has no part in; None of any other."""
    if said := buckets.trouble(error):
        return said
    if not isinstance(error, OSError) or error.errno not in OUTSIDE:
        return None
    return f"{error.filename}: {error.strerror}" if error.filename else error.strerror


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


def entry() -> None:
    """The console script."""
    sys.exit(main())
