"""`d2v finetune`, `sweep`, `evaluate`, `transcribe` and `results`: encoders with labels."""

import argparse
import functools
import pathlib
from collections.abc import Callable

from d2v_jax.cli import runs
from d2v_jax.cli.shared import CHECKPOINT
from d2v_jax.common.buckets import place
from d2v_jax.common.checks import UserError

Task = Callable[..., argparse.ArgumentParser]


def add(task: Task) -> None:
    """The sub-commands."""
    sub = task(
        "finetune",
        _finetune,
        "train an encoder and a head on labelled examples; "
        "recipe fields are set with --config.section.field=value",
    )
    sub.add_argument(
        "--config",
        help="recipe: a file, the name of a shipped one, as in finetune_image, or a run folder; "
        "the encoder is that of --config.init_from=CHECKPOINT",
    )
    runs.add_run(sub)

    sub = task(
        "sweep",
        _sweep,
        "one fine-tuning for every combination of settings, and the median over seeds; "
        "run it again to go on",
    )
    sub.add_argument("--config", required=True, help="as for finetune")
    sub.add_argument(
        "--over",
        action="append",
        required=True,
        metavar="FIELD=A,B",
        help="as in optimizer.learning_rate=1e-5,2e-5 or seed=0,1,2; several may be given",
    )
    sub.add_argument(
        "--measure",
        default="-eval/accuracy",
        metavar="NAME",
        help="of metrics.jsonl, -NAME where higher is better; default %(default)s",
    )
    runs.add_run(sub)

    sub = task("evaluate", _evaluate, "how good a model with a head is on examples it never saw")
    sub.add_argument(
        "what",
        choices=("asr", "classes", "values", "tags"),
        metavar="TASK",
        help="asr: speech to text; classes, values or tags of anything",
    )
    sub.add_argument("checkpoint", type=place, metavar="RUN", help=CHECKPOINT)
    sub.add_argument("--source", help="as data.source; default: eval.source of the recipe")
    sub.add_argument("--split", help="as data.split; default: the test or validation split")
    sub.add_argument("--examples", type=int, default=0, metavar="N", help="at most; default: all")
    sub.add_argument(
        "--metrics", metavar="A,B", help="accuracy, top5, f1, matthews, pearson, spearman, mAP"
    )
    add_search(sub)

    sub = task(
        "transcribe",
        _transcribe,
        "what is said in recordings, with the time of each word, by a model with a CTC head",
    )
    sub.add_argument("checkpoint", type=place, metavar="RUN", help=CHECKPOINT)
    sub.add_argument("inputs", nargs="+", metavar="INPUT", help="folders, sound files, manifests")
    sub.add_argument(
        "--out", type=place, metavar="FILE", help="default: the screen; of srt a folder"
    )
    sub.add_argument("--format", choices=("txt", "jsonl", "srt"), default="txt")
    add_search(sub)

    sub = task("results", _results, "the results of several runs side by side")
    sub.add_argument("runs", type=place, nargs="+", metavar="RUN")
    sub.add_argument("--out", type=place, metavar="DIR", help="results.png and results.html")


def _sweep(args: argparse.Namespace, overrides: list[str]) -> int:
    from d2v_jax.transfer.answers import sweep

    found = sweep.settings([sweep.Axis.of(words) for words in args.over])

    def train(workdir: pathlib.Path, setting: sweep.Setting) -> int:
        words = [f"--config.{field}={value}" for field, value in setting.items()]
        one = argparse.Namespace(**{**vars(args), "workdir": workdir})
        return _finetune(one, [*overrides, *words])

    code = sweep.run(args.workdir, found, train)
    if not code:
        print(sweep.table(args.workdir, found, args.measure))
    return code


def _finetune(args: argparse.Namespace, overrides: list[str]) -> int:
    from d2v_jax.train import run
    from d2v_jax.transfer import finetune, reading
    from d2v_jax.transfer.answers import evaluation

    if not args.config and (overrides or not (args.workdir / run.FILE).exists()):
        raise UserError(
            "name a recipe with --config, such as --config finetune_image, and an encoder with "
            "--config.init_from=CHECKPOINT"
        )

    def read() -> runs.Job:
        start = reading.start_from
        if args.config:
            config, loaded = finetune.recipe(args.config, overrides)
            start = functools.partial(start, loaded=loaded)
        else:
            config = run.read_config(args.workdir)
        return config, start, evaluation.online(config) if config.eval.every else None

    return runs.train(args, {"config": args.config, "fields": overrides}, read)


def add_search(sub: argparse.ArgumentParser) -> None:
    """How letters become words."""
    group = sub.add_argument_group("how letters become words; default: the likeliest of each frame")
    group.add_argument("--beam", type=int, metavar="N", help="labellings kept after each frame")
    group.add_argument("--lm", type=place, metavar="ARPA", help="a model of words")
    group.add_argument("--lm-weight", type=float, default=2.0, metavar="W")
    group.add_argument("--word-bonus", type=float, default=-1.0, metavar="B")
    group.add_argument("--words", type=place, metavar="FILE", help="all that may be said")
    group.add_argument("--letters", type=place, metavar="FILE", help="what outputs mean")


def _search(args: argparse.Namespace):
    from d2v_jax.transfer.answers import recognition

    return recognition.SearchOptions(
        args.beam, args.lm, args.lm_weight, args.word_bonus, args.words, args.letters
    )


def _evaluate(args: argparse.Namespace, _: list[str]) -> int:
    from d2v_jax.train.machine import compile_cache
    from d2v_jax.transfer.answers import evaluation

    compile_cache.enable()
    if args.examples < 0:
        raise UserError(f"--examples {args.examples}: must not be negative")
    metrics = tuple(args.metrics.split(",")) if args.metrics else ()
    asked = evaluation.Asked(args.what, args.source, args.split, args.examples, metrics)
    print(evaluation.evaluate_run(args.checkpoint, asked, _search(args)))
    return 0


def _transcribe(args: argparse.Namespace, _: list[str]) -> int:
    from d2v_jax.train.machine import compile_cache
    from d2v_jax.transfer.answers import transcribe

    compile_cache.enable()
    said = transcribe.write(args.checkpoint, args.inputs, args.out, args.format, _search(args))
    print(said, end="")
    return 0


def _results(args: argparse.Namespace, _: list[str]) -> int:
    from d2v_jax.transfer.answers import results, results_plot

    found = results.read(args.runs)
    print(results.table(found))
    if args.out:
        print(results_plot.draw(found, args.out))
    return 0
