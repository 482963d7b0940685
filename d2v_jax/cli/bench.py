"""`d2v bench`: how fast a recipe's step runs here."""

import argparse
import json
from collections.abc import Callable

from d2v_jax.cli.shared import resolved
from d2v_jax.common.checks import UserError
from d2v_jax.common.names import place

Task = Callable[..., argparse.ArgumentParser]


def add(task: Task) -> None:
    """The sub-commands."""
    jobs = task("bench", _bench, "how fast a recipe's step runs on this machine").add_subparsers(
        dest="job", required=True, metavar="job"
    )
    words = (
        "time, arithmetic, memory and compilation of a recipe's step on random examples; "
        "fields are set with --config.section.field=value"
    )
    sub = jobs.add_parser("step", help=words, description=words, allow_abbrev=False)
    sub.add_argument(
        "config",
        metavar="RECIPE",
        help="a recipe or a run folder; --config.train.batch_size=2 makes a published one small",
    )
    sub.add_argument(
        "--seconds", type=float, default=30, metavar="S", help="of measuring; default %(default)g"
    )
    sub.add_argument(
        "--compare",
        nargs="+",
        metavar="FIELD=VALUE",
        default=(),
        help="measure with this too, in turn, as in trunk.remat=blocks",
    )
    sub.add_argument(
        "--parts",
        action="store_true",
        help="where the time goes: leave out one part after the other",
    )
    sub.add_argument("--json", type=place, metavar="FILE", help="the figures as JSON too")


def _bench(args: argparse.Namespace, overrides: list[str]) -> int:
    from d2v_jax.common.files import write_whole
    from d2v_jax.measure import step_bench, step_table
    from d2v_jax.train.machine import allocator

    allocator.keep_freed_memory()
    if args.seconds <= 0:
        raise UserError(f"--seconds {args.seconds:g}: must be positive")
    recipe = resolved(args.config, overrides)
    other = None
    if args.compare:
        more = [f"--config.{word}" for word in args.compare]
        other = resolved(args.config, [*overrides, *more]), tuple(args.compare)
    result = step_bench.bench(recipe, args.seconds, other, args.parts)
    if args.json:
        text = json.dumps(step_table.record(recipe, result), indent=1)
        write_whole(args.json.expanduser(), text.encode())
    print(step_table.table(recipe, result))
    return 0
