"""`d2v pretrain`, and `d2v inspect`, which looks at a run or plans one."""

import argparse
import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

from d2v_jax.cli.shared import CHECKPOINT, resolved
from d2v_jax.common.buckets import place
from d2v_jax.common.checks import UserError

log = logging.getLogger("d2v")

Task = Callable[..., argparse.ArgumentParser]


def add(task: Task) -> None:
    """The sub-commands."""
    sub = task(
        "pretrain",
        _pretrain,
        "train an encoder, or continue the run in a folder; "
        "recipe fields are set with --config.section.field=value",
    )
    sub.add_argument(
        "--config",
        help="recipe: a file, the name of a shipped one, as in "
        "v2_image_base or quickstart_image:smoke, or a run folder",
    )
    add_run(sub)

    sub = task(
        "inspect",
        _inspect,
        "the parameter tree and the resolved recipe of a checkpoint; "
        "or, before a run, the memory that a recipe will need",
    )
    sub.add_argument(
        "checkpoint",
        type=place,
        metavar="RUN",
        help=f"{CHECKPOINT}; with --plan a recipe or a run folder",
    )
    sub.add_argument(
        "--plan",
        action="store_true",
        help="compile the step and say what it needs "
        "on each device; fields are set with --config.section.field=value",
    )
    sub.add_argument(
        "--devices", type=int, metavar="N", help="plan for so many, pretended on the CPU"
    )
    sub.add_argument(
        "--on",
        nargs="+",
        metavar="SLICE",
        help="plan for TPU slices such as v5e:2x4, by the TPU's own compiler (pip install "
        "'jax[tpu]'; no TPU is needed); takes minutes, and tries what would make it fit",
    )
    sub.add_argument(
        "--as-is", action="store_true", help="with --on: do not look for settings that would fit"
    )
    sub.add_argument(
        "--quick",
        action="store_true",
        help="with --on: only whether it fits, in a fifth of the time, without an estimate",
    )
    sub.add_argument("--json", type=place, metavar="FILE", help="with --on: the plans' figures too")


def add_run(sub: argparse.ArgumentParser) -> None:
    """The options of all commands that train."""
    sub.add_argument(
        "--workdir", required=True, type=place, help="the run folder, on disk or gs://BUCKET/FOLDER"
    )
    group = sub.add_argument_group(
        "several processes, each with the same command",
        "they know each other by a secret derived from --coordinator and the cluster's job;\n"
        "set D2V_RUN_SECRET to the same words in all to have one that others cannot derive",
    )
    group.add_argument(
        "--distributed",
        choices=("auto", "off"),
        help="auto: find the others by "
        "Cloud TPU, GKE, Slurm or MPI; default: where they are to be seen",
    )
    group.add_argument(
        "--coordinator", metavar="HOST:PORT", help="of process 0; PORT + 1 is used too"
    )
    group.add_argument("--processes", type=int, metavar="N")
    group.add_argument("--process-id", type=int, metavar="I", help="0 to N - 1")
    group.add_argument(
        "--start-timeout",
        type=float,
        default=300,
        metavar="S",
        help="seconds in which all must have come; default %(default)g",
    )


def _pretrain(args: argparse.Namespace, overrides: list[str]) -> int:
    from d2v_jax.train import run
    from d2v_jax.train.recipe import resolve
    from d2v_jax.transfer import reading

    if args.config:
        recipe = resolved(args.config, overrides)
    elif (args.workdir / run.FILE).exists() and not overrides:
        recipe = run.read_config(args.workdir)
    elif overrides:
        raise UserError(f"{overrides[0]}: recipe fields need a recipe; add --config NAME")
    else:
        raise UserError(
            f"{args.workdir} holds no run to continue; name a recipe with --config, such as "
            "--config quickstart_image"
        )

    def read() -> Job:
        if not recipe.eval.every:
            return recipe, reading.start_from, None
        from d2v_jax.transfer.probes import online

        return recipe, reading.start_from, online.probes(recipe)

    return train(args, resolve.to_fields(recipe), read)


# A resolved recipe, what reads its `init_from`, and what evaluates on the way or None.
Job = tuple[Any, Any, Any]


def train(args: argparse.Namespace, asked: Mapping[str, Any], read: Callable[[], Job]) -> int:
    """Begins or continues the run in `args.workdir`, alone or with other processes.

    All processes must have been `asked` for the same. `read` is called when they are joined:
    reading a checkpoint starts JAX, which must not be before.
    """
    from d2v_jax.train import run
    from d2v_jax.train.hosts import launch
    from d2v_jax.train.machine import allocator, compile_cache
    from d2v_jax.train.pretrain import pretrain
    from d2v_jax.train.recipe import resolve

    compile_cache.enable()
    place = launch.find_place(args.distributed, args.coordinator, args.processes, args.process_id)
    peers = launch.join(place, run.facts(asked), args.start_timeout) if place else None
    recipe, start, evaluate = read()
    if peers:
        peers.agree("recipe", run.facts(resolve.to_fields(recipe))["recipe"])
    allocator.keep_freed_memory()  # asks for the devices, so not before `join`
    code = pretrain(recipe, args.workdir, start, peers, evaluate)
    if peers:
        peers.close()
    return code


def _inspect(args: argparse.Namespace, overrides: list[str]) -> int:
    if args.plan:
        return _plan(args, overrides)
    from d2v_jax.train.report import tree
    from d2v_jax.transfer import reading

    one = reading.outline(args.checkpoint)
    print(
        tree.report(
            one.recipe, one.params, one.carried, one.head, f"{one.system} at step {one.step}"
        )
    )
    return 0


def _plan(args: argparse.Namespace, overrides: list[str]) -> int:
    from d2v_jax.measure import plan, plan_table

    if args.devices is not None and args.devices < 1:
        raise UserError(f"--devices {args.devices}: must be positive")
    if args.on:
        return _plan_slices(args, overrides)
    recipe = resolved(str(args.checkpoint), overrides)
    if args.devices:
        plan.pretend(args.devices)
    log.info("compiling the step ...")
    print(plan_table.table(plan.plan(recipe)))
    return 0


def _plan_slices(args: argparse.Namespace, overrides: list[str]) -> int:
    from d2v_jax.common import files
    from d2v_jax.measure import fitting, plan, plan_table, slices

    plan.pretend(None)
    recipe = resolved(str(args.checkpoint), overrides)
    given = fitting.differences(recipe, resolved(str(args.checkpoint), []))
    wheres = [slices.find(name) for name in args.on]
    found, records = [], []
    for where in wheres:
        first, last = fitting.made_to_fit(recipe, where, not args.as_is, args.quick, given)
        found.append(last.fits)
        records.append(plan_table.record(last, where))
        if args.json:
            files.write_whole(args.json, json.dumps(records, indent=1) + "\n")
        print(plan_table.table(first, where))
        if last is not first:
            print(f"\n{plan_table.verdict(last, where)}\n")
            print(plan_table.table(last, where))
        print(flush=True)
    return 0 if all(found) else 1
