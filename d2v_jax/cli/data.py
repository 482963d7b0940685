"""`d2v data`: look at a source, make shards of it, measure how fast it is read."""

import argparse
import importlib
from collections.abc import Callable, Sequence

from d2v_jax.common.checks import UserError, require
from d2v_jax.common.names import place
from d2v_jax.data.modality import OURS, Data, data_class

FIELD = "--config.data."  # of a word that sets a field by hand
SOURCE = "as data.source: a folder, tfds:NAME, builtin:NAME, shards, several joined by ' + '"


def add(task: Callable[..., argparse.ArgumentParser]) -> None:
    """The sub-commands."""
    parser = task("data", _data, "look at a source of examples, prepare it, measure it")
    tasks = parser.add_subparsers(dest="job", required=True, metavar="job")

    def job(name: str, run, summary: str) -> argparse.ArgumentParser:
        sub = tasks.add_parser(name, help=summary, description=summary, allow_abbrev=False)
        sub.set_defaults(job_run=run)
        sub.add_argument("source", metavar="SOURCE", help=SOURCE)
        sub.add_argument(
            "--modality", choices=tuple(OURS), help="where the names of the files do not tell"
        )
        sub.add_argument(
            "--config",
            help="a recipe whose data fields count; any of them can be "
            "set with --config.data.FIELD=VALUE",
        )
        return sub

    sub = job(
        "inspect",
        _inspect,
        "counts, lengths or sizes, rates, duplicates, silence, what is unreadable",
    )
    sub.add_argument("--out", type=place, metavar="DIR", help="pictures and inspect.json")
    sub.add_argument("--sample", type=int, metavar="N", help="look at so many records only")

    sub = job(
        "prepare", _prepare, "shards that are read fast and in any order; run it again to go on"
    )
    sub.add_argument("out", type=place, metavar="OUT", help="a new folder, or an interrupted one")
    sub.add_argument("--workers", type=int, default=2, metavar="N", help="processes; default 2")
    sub.add_argument(
        "--shard-mb",
        type=int,
        default=256,
        metavar="M",
        help="size of a shard; default %(default)s",
    )
    sub.add_argument(
        "--max-side", type=int, metavar="P", help="pixels to which larger pictures are shrunk"
    )

    sub = job("bench", _bench, "examples per second of each stage, beside a plain loop")
    sub.add_argument(
        "--seconds",
        type=float,
        default=5.0,
        metavar="S",
        help="for each figure; default %(default)g",
    )
    sub.add_argument("--json", type=place, metavar="FILE", help="the figures as JSON too")

    sub = job("train-tokenizer", _train_tokenizer, "a byte-level BPE in GPT-2's file formats")
    sub.add_argument("out", type=place, metavar="OUT", help="a new folder")
    sub.add_argument(
        "--vocab-size", type=int, default=32_000, metavar="N", help="default %(default)s"
    )


def _data(args: argparse.Namespace, overrides: list[str]) -> int:
    """Runs the job on the source's data fields and prints what it has to say."""
    print(args.job_run(args, _data_config(args, overrides)))
    return 0


def _data_config(args: argparse.Namespace, overrides: Sequence[str]) -> Data:
    """The fields of the recipe, or of the modality's base, with this source."""
    from d2v_jax.data import guess
    from d2v_jax.train.recipe import resolve

    words = [*overrides, f"--config.data.source={args.source}"]
    if args.config:
        data = resolve.resolve(resolve.load(args.config, words)).data
        require(
            args.modality in (None, data.modality),
            f"--modality {args.modality}: --config {args.config} is of {data.modality}; give one "
            "of both",
        )
        return data
    modality = args.modality or guess.modality_of(args.source)
    require(
        modality in OURS,
        f"{args.source!r} was prepared for {modality}, of which there is no base recipe; give one "
        "with --config RECIPE",
    )
    base = importlib.import_module(f"d2v_jax.configs.{modality}").get_config()
    given = [word.removeprefix(FIELD).partition("=")[0] for word in words if word.startswith(FIELD)]
    base.data.update(data_class(modality).standalone(args.job, given))
    return resolve.resolve(resolve.edited(base.to_dict(), words, f"--modality {modality}")).data


def _positive(name: str, value: float | None) -> None:
    if value is not None and value <= 0:
        raise UserError(f"{name} {value}: must be positive")


def _inspect(args: argparse.Namespace, cfg: Data) -> str:
    from d2v_jax.data.inspect import inspection

    _positive("--sample", args.sample)
    return inspection.inspect(cfg, args.out, args.sample)


def _prepare(args: argparse.Namespace, cfg: Data) -> str:
    from d2v_jax.data.prepare import prepare

    _positive("--workers", args.workers)
    _positive("--shard-mb", args.shard_mb)
    _positive("--max-side", args.max_side)
    return prepare.prepare(cfg, args.out, args.workers, args.shard_mb, args.max_side)


def _bench(args: argparse.Namespace, cfg: Data) -> str:
    from d2v_jax.measure import data_bench

    _positive("--seconds", args.seconds)
    return data_bench.bench(cfg, args.seconds, args.json)


def _train_tokenizer(args: argparse.Namespace, cfg: Data) -> str:
    return cfg.train_tokenizer(args.out, args.vocab_size)
