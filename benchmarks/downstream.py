"""What pretraining is worth on small labelled sets: the quickstarts, fine-tuned and untrained.

    python benchmarks/downstream.py images --workdir runs/images
    python benchmarks/downstream.py text speech --workdir runs/more --json downstream.json
    python benchmarks/downstream.py fashion --source FOLDER --workdir runs/fashion

Each task pretrains its quickstart (or takes the run that is there), fine-tunes it, fine-tunes the
same architecture from untrained numbers in as many updates, and tests both on examples that
neither saw; fashion also learns from scratch for as long as pretraining and fine-tuning took.
Everything is on two cores and needs no download, but for fashion's folder of idx files. Run again,
it goes on.
"""

import argparse
import contextlib
import dataclasses
import io
import json
import pathlib
import sys
import time
from collections.abc import Sequence
from typing import Any

from d2v_jax.cli.main import main as d2v


@dataclasses.dataclass(frozen=True)
class Task:
    """A quickstart, the recipe that fine-tunes it, and what differs from that."""

    quickstart: str
    recipe: str
    answers: str  # of d2v evaluate
    fields: tuple[str, ...]
    per_class: tuple[int, ...] = (0,)
    # Updates for so many labels per class, where the recipe's fields do not say.
    steps: tuple[int, ...] = ()
    as_long: tuple[int, ...] = ()  # labels per class for which scratch has all the time


# In the order of the table: what `start.encoder` is, and what a person calls it.
STARTS = {
    "student": "pretrained",
    "untrained": "untrained, as many updates",
    "scratch": "untrained, as long as both",
}


# Small encoders learn at higher rates than those of the papers, and without their masks.
TASKS = {
    "images": Task(
        "quickstart_image",
        "finetune_image",
        "classes",
        (
            "data.source=builtin:photos",
            "data.central_crop=1.0",
            "data.threads=1",
            "optimizer.warmup_steps=40",
            "train.batch_size=32",
            "eval.every=0",
        ),
        (5, 50),
        (150, 300),
    ),
    "fashion": Task(
        "quickstart_fashion",
        "finetune_image",
        "classes",
        (
            "data.central_crop=1.0",
            "data.crop_scale=(0.7, 1.0)",
            "data.threads=1",
            "optimizer.warmup_steps=40",
            "train.batch_size=64",
            "eval.every=0",
        ),
        (10, 100, 1000, 6000),
        (300, 600, 1500, 3000),
        (10, 100, 1000, 6000),
    ),
    "text": Task(
        "quickstart_text",
        "finetune_text",
        "classes",
        (
            "data.source=builtin:python-docs",
            "data.split=learn",
            "head.kind=mean_classes",  # no loss has taught the first token to stand for all
            "optimizer.learning_rate=1e-3",
            "optimizer.warmup_steps=40",
            "train.batch_size=32",
            "eval.every=0",
        ),
        (5, 50),
        (100, 250),
    ),
    "speech": Task(
        "quickstart_speech",
        "finetune_asr",
        "asr",
        (
            "data.source=builtin:speech",
            "data.split=learn",
            "data.spelling=spoken",
            "data.buckets=(64000,)",  # recordings of at most four seconds
            "data.samples=64000",
            "data.most_letters=120",
            "data.threads=1",
            "mask.hide=none",
            "augment.channel_share=0.0",
            "trunk.activation_dropout=0.0",
            "trunk.layer_drop=0.0",
            "optimizer.learning_rate=2e-3",
            "optimizer.warmup_steps=40",
            "optimizer.hold_steps=240",
            "optimizer.frozen=()",
            "train.steps=400",
            "train.batch_size=12",
            "train.log_every=20",
            "train.checkpoint_every=200",
            "train.keep_best=0",
            "eval.every=0",
        ),
    ),
}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tasks", nargs="+", choices=TASKS)
    parser.add_argument("--workdir", type=pathlib.Path, required=True)
    parser.add_argument("--encoder", type=pathlib.Path, help="a run to take for the quickstart's")
    parser.add_argument("--source", help="the data, where they are not built in")
    parser.add_argument("--per-class", type=int, nargs="+", help="only these numbers of labels")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE")
    args = parser.parse_args(argv)
    rows: list[dict[str, Any]] = []
    for name in args.tasks:
        task, began = TASKS[name], time.monotonic()
        encoder = args.encoder or args.workdir / name / "encoder"
        source = [f"--config.data.source={args.source}"] if args.source else []
        if not args.encoder:
            _do("pretrain", "--config", task.quickstart, "--workdir", encoder, *source)
        counts = args.per_class or task.per_class
        found = compared(task, encoder, args.workdir / name, source, counts)
        rows += [row | {"task": name} for row in found]
        print(f"{name}: {time.monotonic() - began:.0f} s in all", file=sys.stderr)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")
    print(table(rows))
    return 0


def compared(
    task: Task,
    encoder: pathlib.Path,
    workdir: pathlib.Path,
    source: Sequence[str],
    counts: Sequence[int],
) -> list[dict[str, Any]]:
    """A row for each number of labels and each beginning."""
    rows = []
    for count in counts:
        steps = dict(zip(task.per_class, task.steps)).get(count)
        spent: dict[str, tuple[int, float]] = {}  # updates and seconds by beginning
        for start, called in STARTS.items():
            if start == "scratch" and count not in task.as_long:
                continue
            fields = [*task.fields, f"init_from={encoder}", f"data.per_class={count}"]
            fields.append(f"start.encoder={'student' if start == 'student' else 'untrained'}")
            if start == "scratch":
                updates, took = spent["untrained"]
                whole = seconds(encoder) + spent["student"][1]
                fields.append(f"train.steps={round(updates * whole / took)}")
            elif steps:
                fields.append(f"train.steps={steps}")
            run = workdir / f"{start}-{count or 'all'}"
            words = [f"--config.{field}" for field in fields]
            _do("finetune", "--config", task.recipe, "--workdir", run, *words, *source)
            _do("evaluate", task.answers, run)
            (kept,) = (run / "results").glob("*.json")
            one = json.loads(kept.read_text())
            spent[start] = (one["step"], seconds(run))
            rows.append(
                {
                    "labels": f"{count} per class" if count else "all",
                    "start": called,
                    "numbers": one["numbers"],
                    "intervals": one["intervals"],
                    "examples": one["examples"],
                    "steps": one["step"],
                    "seconds": round(spent[start][1], 1),
                }
            )
    return rows


def seconds(run: pathlib.Path) -> float:
    """What its steps took, in all the times it was started."""
    parts = json.loads((run / "goodput.json").read_text())
    return sum(part["seconds"]["productive"] for part in parts)


def _do(*words: Any) -> None:
    """A `d2v` command; its table is not shown."""
    with contextlib.redirect_stdout(io.StringIO()):
        code = d2v([str(word) for word in words])
    if code:
        sys.exit(code)


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    lines = [
        "| task | labels | beginning | measure | value | 95 % | tested on | updates | seconds |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        for name, value in row["numbers"].items():
            low, high = row["intervals"][name]
            cells = (row["task"], row["labels"], row["start"], name, f"{value:.3f}")
            lines.append(
                f"| {' | '.join(cells)} | {low:.3f} - {high:.3f} | {row['examples']:,} | "
                f"{row['steps']:,} | {row['seconds']:.0f} |"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
