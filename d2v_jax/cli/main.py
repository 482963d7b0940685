"""The `d2v` command: one sub-command per task. Errors people caused come without a traceback."""

import argparse
import errno
import json
import logging
import os
import pathlib
import sys

from d2v_jax.cli import data
from d2v_jax.common.checks import UserError

log = logging.getLogger("d2v")

LAYER = "last, average, all (side by side), or a trunk block's number from 0; default %(default)s"
CHECKPOINT = "a run folder, a fairseq .pt, a BEiT-style .pth, a Hugging Face or safetensors folder"
# Troubles of the machine, not of the program: full or read-only disks, missing permissions.
OUTSIDE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)
FILE = """
F.npz, to be read with numpy.load, holds
  names     [n] paths below the folder; of a text FILE:LINE, where the document begins
  features  [n, d] float32, the mean over each example's tokens
with --frames
  features  [t, d] float32, all tokens of all examples one after the other
  offsets   [n + 1]: those of example i are features[offsets[i]:offsets[i + 1]]
d is the model's width, with --layer all that times its depth. Speech has a token every 20 ms, an
image one per patch, row by row, a text one per id, its begin and line ends included.
Files that cannot be read are left out, named and counted.
"""


def main(argv: list[str] | None = None) -> int:
    """Parses the command line, runs one task, returns the exit code."""
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    log.setLevel(logging.INFO)
    logging.getLogger("absl").setLevel(logging.ERROR)  # Orbax narrates every file it opens
    parser = _parser()
    args, rest = parser.parse_known_args(argv)
    if rest and not (args.task in ("pretrain", "data", "bench") or getattr(args, "plan", False)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        code = args.run(args, rest)
        sys.stdout.flush()
        return code
    except UserError as error:
        print(f"d2v {args.task}: {error}", file=sys.stderr)
        return error.code
    except BrokenPipeError:  # `| head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        if error.errno not in OUTSIDE:
            raise
        where = f"{error.filename}: " if error.filename else ""
        print(f"d2v {args.task}: {where}{error.strerror}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"d2v {args.task}: interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="d2v", description="data2vec 1.0 and 2.0 in JAX", allow_abbrev=False
    )
    tasks = parser.add_subparsers(dest="task", required=True, metavar="task")

    def task(name, run, summary, more=None):
        sub = tasks.add_parser(
            name, help=summary, description=summary, epilog=more, allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        sub.set_defaults(run=run)
        return sub

    sub = task("pretrain", _pretrain, "train an encoder, or continue the run in a folder; "
               "recipe fields are set with --config.section.field=value")  # fmt: skip
    sub.add_argument("--config", help="recipe: a file, the name of a shipped one, as in "
                     "v2_image_base or quickstart_image:smoke, or a run folder")  # fmt: skip
    sub.add_argument("--workdir", required=True, type=pathlib.Path, help="the run folder")
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
    group.add_argument("--start-timeout", type=float, default=300, metavar="S",
                       help="seconds in which all must have come; default %(default)g")  # fmt: skip

    sub = task("probe", _probe, "kNN and linear probe on frozen features: classes of images, "
               "voices and words, documents of passages")  # fmt: skip
    sub.add_argument("checkpoint", type=pathlib.Path, metavar="RUN", help=CHECKPOINT)
    sub.add_argument("--source", help="where labels are: a folder with one sub-folder per class "
                     "or speaker, tfds:NAME, builtin:photos, builtin:tones, "
                     "builtin:python-docs; default: what it was trained on")  # fmt: skip
    sub.add_argument(
        "--examples",
        type=int,
        help="most per task and split; default 4000 images, 2000 of anything else",
    )
    sub.add_argument("--layer", default="all", help=LAYER)

    sub = task("features", _features, "features of a folder of images, of sound files or of "
               "texts, as an npz file", FILE)  # fmt: skip
    sub.add_argument("checkpoint", type=pathlib.Path, metavar="RUN", help=CHECKPOINT)
    sub.add_argument("inputs", type=pathlib.Path, metavar="INPUT",
                     help="a folder of jpg, png, webp or of wav, flac, ogg; for text a folder of "
                     ".txt files or one file, whose documents end at empty lines")  # fmt: skip
    sub.add_argument("--out", required=True, type=pathlib.Path, metavar="F.npz")
    sub.add_argument("--layer", default="last", help=LAYER)
    sub.add_argument("--teacher", action="store_true", help="the teacher's, not the student's")
    sub.add_argument("--frames", action="store_true", help="every token's, not their mean")
    sub.add_argument("--max-seconds", type=float, default=60, metavar="S",
                     help="of a longer sound only the beginning; default %(default)g")  # fmt: skip
    sub.add_argument("--tokenizer", metavar="FOLDER", help="of a model of text that brings none: "
                     "the folder with vocab.json and merges.txt, or 'bytes'")  # fmt: skip

    sub = task("inspect", _inspect, "the parameter tree and the resolved recipe of a checkpoint; "
               "or, before a run, the memory that a recipe will need")  # fmt: skip
    sub.add_argument("checkpoint", type=pathlib.Path, metavar="RUN",
                     help=f"{CHECKPOINT}; with --plan a recipe or a run folder")  # fmt: skip
    sub.add_argument(
        "--plan",
        action="store_true",
        help="compile the step and say what it needs "
        "on each device; fields are set with --config.section.field=value",
    )
    sub.add_argument("--devices", type=int, metavar="N",
                     help="plan for so many, pretended on the CPU")  # fmt: skip

    sub = task("convert", _convert, "anyone's checkpoint into a run folder, one safetensors file "
               "or a Hugging Face folder")  # fmt: skip
    sub.add_argument("source", type=pathlib.Path, metavar="IN",
                     help=CHECKPOINT)  # fmt: skip
    sub.add_argument("out", type=pathlib.Path, metavar="OUT", help="a new folder")
    sub.add_argument("--to", default="run", choices=("run", "safetensors", "hf"),
                     help="default %(default)s; hf: data2vec 1.0 only")  # fmt: skip

    jobs = task("bench", _bench, "how fast a recipe's step runs on this machine").add_subparsers(
        dest="job", required=True, metavar="job"
    )
    words = ("time, arithmetic, memory and compilation of a recipe's step on random examples; "
             "fields are set with --config.section.field=value")  # fmt: skip
    sub = jobs.add_parser("step", help=words, description=words, allow_abbrev=False)
    sub.add_argument("config", metavar="RECIPE", help="a recipe or a run folder; "
                     "--config.train.batch_size=2 makes a published one small")  # fmt: skip
    sub.add_argument("--seconds", type=float, default=30, metavar="S",
                     help="of measuring; default %(default)g")  # fmt: skip
    sub.add_argument("--compare", nargs="+", metavar="FIELD=VALUE", default=(),
                     help="measure with this too, in turn, as in trunk.remat=blocks")  # fmt: skip
    sub.add_argument("--parts", action="store_true",
                     help="where the time goes: leave out one part after the other")  # fmt: skip
    sub.add_argument("--json", type=pathlib.Path, metavar="FILE", help="the figures as JSON too")

    data.add(task("data", _data, "look at a source of examples, prepare it, measure it"))
    return parser


# Each task imports what it needs itself: `d2v --help` should not wait for JAX.


def _resolved(spec: str, overrides: list[str]):
    """The recipe that a name, a file or a run folder stands for."""
    from d2v_jax.train import run
    from d2v_jax.train.recipe import resolve

    folder = pathlib.Path(spec).expanduser()
    if folder.is_dir():
        return resolve.resolve(resolve.edited(run.read_recipe(folder), overrides, spec))
    return resolve.resolve(resolve.load(spec, overrides))


def _pretrain(args: argparse.Namespace, overrides: list[str]) -> int:
    from d2v_jax.train import run
    from d2v_jax.train.hosts import launch
    from d2v_jax.train.machine import allocator, compile_cache
    from d2v_jax.train.pretrain import pretrain
    from d2v_jax.transfer import checkpoints

    compile_cache.enable()
    if args.config:
        resolved = _resolved(args.config, overrides)
    elif (args.workdir / run.FILE).exists() and not overrides:
        resolved = run.read_config(args.workdir)
    elif overrides:
        raise UserError(f"{overrides[0]}: recipe fields need a recipe; add --config NAME")
    else:
        raise UserError(
            f"{args.workdir} holds no run to continue; name a recipe with --config, such as "
            "--config quickstart_image"
        )
    if "://" in str(args.workdir) or str(args.workdir).startswith("gs:"):
        raise UserError(
            f"--workdir {args.workdir}: buckets are not written to directly; mount it (gcsfuse) "
            "and give the folder"
        )
    place = launch.find_place(args.distributed, args.coordinator, args.processes, args.process_id)
    peers = None
    if place:
        facts = run.facts(resolved)
        peers = launch.join(place, facts, args.start_timeout)
    allocator.keep_freed_memory()  # asks for the devices, so not before `join`
    code = pretrain(resolved, args.workdir, checkpoints.start_from, peers)
    if peers:
        peers.close()
    return code


def _probe(args: argparse.Namespace, _: list[str]) -> int:
    from d2v_jax.train.machine import compile_cache
    from d2v_jax.transfer import probe

    compile_cache.enable()
    print(probe.probe_run(args.checkpoint, args.source, args.examples, args.layer))
    return 0


def _features(args: argparse.Namespace, _: list[str]) -> int:
    from d2v_jax.train.machine import compile_cache
    from d2v_jax.transfer import features

    compile_cache.enable()
    options = features.Options(
        args.layer, args.teacher, args.frames, args.max_seconds, args.tokenizer
    )
    print(features.write(args.checkpoint, args.inputs, args.out, options))
    return 0


def _inspect(args: argparse.Namespace, overrides: list[str]) -> int:
    if args.plan:
        return _plan(args, overrides)
    from d2v_jax.train.report import tree
    from d2v_jax.transfer import checkpoints

    one = checkpoints.outline(args.checkpoint)
    print(tree.report(one.recipe, one.params, one.carried, one.head,
                         f"{one.system} at step {one.step}"))  # fmt: skip
    return 0


def _plan(args: argparse.Namespace, overrides: list[str]) -> int:
    from d2v_jax.measure import plan

    if args.devices is not None and args.devices < 1:
        raise UserError(f"--devices {args.devices}: must be positive")
    resolved = _resolved(str(args.checkpoint), overrides)
    if args.devices:
        plan.pretend(args.devices)
    log.info("compiling the step ...")
    print(plan.plan(resolved))
    return 0


def _convert(args: argparse.Namespace, _: list[str]) -> int:
    from d2v_jax.transfer import convert

    print(convert.convert(args.source, args.out, args.to))
    return 0


def _bench(args: argparse.Namespace, overrides: list[str]) -> int:
    from d2v_jax.common.files import write_whole
    from d2v_jax.measure import step_bench, step_table
    from d2v_jax.train.machine import allocator

    allocator.keep_freed_memory()
    if args.seconds <= 0:
        raise UserError(f"--seconds {args.seconds:g}: must be positive")
    resolved = _resolved(args.config, overrides)
    other = None
    if args.compare:
        more = [f"--config.{word}" for word in args.compare]
        other = _resolved(args.config, [*overrides, *more]), tuple(args.compare)
    result = step_bench.bench(resolved, args.seconds, other, args.parts)
    if args.json:
        text = json.dumps(step_table.record(resolved, result), indent=1)
        write_whole(args.json.expanduser(), text.encode())
    print(step_table.table(resolved, result))
    return 0


def _data(args: argparse.Namespace, overrides: list[str]) -> int:
    print(data.run(args, overrides))
    return 0


def entry() -> None:
    """The console script."""
    sys.exit(main())


if __name__ == "__main__":
    entry()
