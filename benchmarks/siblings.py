"""data2vec beside its siblings: the same encoder, the same data, another thing to learn.

    python benchmarks/siblings.py images sounds texts --workdir runs/siblings
    python benchmarks/siblings.py clothes --source FOLDER --workdir runs/siblings --share 0.2
    python benchmarks/siblings.py images --workdir runs/siblings --plot siblings.png

Every objective of a modality pretrains the encoder of its quickstart twice: on as many examples
as data2vec 2.0, and with as much arithmetic of matrix products, which for the others is more
examples. On the way frozen features are probed: the mean of the trunk's blocks, by a linear
classifier and by the 20 nearest neighbours. Run again, it goes on; without `--seeds`, three.
"""

import argparse
import contextlib
import dataclasses
import io
import json
import pathlib
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from d2v_jax.cli.main import main as d2v
from d2v_jax.train.recipe import resolve

LEADER = "data2vec 2.0"  # whose examples and arithmetic are the measure
BUDGETS = {"examples": "same examples", "arithmetic": "same arithmetic"}
REACHED = 0.95  # of the best mean there is, for "after ... examples"


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Recipes of one modality by what people call their objectives, and fields that all set."""

    recipes: dict[str, str]
    fields: tuple[str, ...] = ()
    units: bool = False  # those who need them learn clusters of MFCCs, made here


IMAGES = {
    LEADER: "quickstart_image",
    "data2vec 1.0": "quickstart_v1_image",
    "MAE": "quickstart_mae",
}
COMPARISONS = {
    "images": Comparison(IMAGES, ("data.source=builtin:photos",)),
    "clothes": Comparison(
        IMAGES,
        (
            "data.image_size=28",
            "data.crop_scale=(0.5, 1.0)",
            "data.central_crop=1.0",
            "frontend.normalize=dataset",
            "frontend.mean=(0.286,)",
            "frontend.std=(0.353,)",
        ),
    ),
    "sounds": Comparison(
        {
            LEADER: "quickstart_audio",
            "data2vec 1.0": "quickstart_v1_audio",
            "wav2vec 2.0": "quickstart_wav2vec2",
            "HuBERT": "quickstart_hubert",
            "CPC": "quickstart_cpc",
            "BEST-RQ": "quickstart_best_rq",
        },
        ("data.source=builtin:speech",),
        units=True,
    ),
    "texts": Comparison(
        {LEADER: "quickstart_text", "data2vec 1.0": "quickstart_v1_text", "BERT": "quickstart_bert"}
    ),
}


@dataclasses.dataclass(frozen=True)
class Curve:
    """What one run's features were worth on the way: accuracies [evaluation] by task and probe."""

    objective: str
    budget: str
    seed: int
    batch_size: int
    flops: float  # of matrix products in a step
    steps: tuple[int, ...]
    accuracies: dict[str, tuple[float, ...]]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("comparisons", nargs="+", choices=COMPARISONS)
    parser.add_argument("--workdir", type=pathlib.Path, required=True)
    parser.add_argument("--source", help="the data, where they are not built in")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--share", type=float, default=1.0, help="of the quickstart's steps")
    parser.add_argument("--evaluations", type=int, default=8, help="of a run, its end among them")
    parser.add_argument("--only", nargs="+", metavar="OBJECTIVE", help="leave the others out")
    parser.add_argument("--fields", nargs="+", default=[], metavar="FIELD=VALUE", help="of all")
    parser.add_argument("--plot", type=pathlib.Path, metavar="PNG")
    args = parser.parse_args(argv)
    found = {}
    for name in args.comparisons:
        one, folder = COMPARISONS[name], args.workdir / name
        if unknown := set(args.only or ()) - set(one.recipes):
            parser.error(f"{name} has no {', '.join(unknown)}; it has {', '.join(one.recipes)}")
        fields = [*one.fields, *args.fields]
        if args.source:
            fields.append(f"data.source={args.source}")
        chosen = [who for who in one.recipes if who in (args.only or one.recipes)]
        found[name] = list(
            curves(one, chosen, folder, fields, args.seeds, args.share, args.evaluations)
        )
    for name, those in found.items():
        print(f"\n### {name.capitalize()}\n\n{table(those)}")
    if args.plot:
        args.plot.write_bytes(picture(found))
    return 0


def curves(
    comparison: Comparison,
    objectives: Sequence[str],
    folder: pathlib.Path,
    fields: Sequence[str],
    seeds: Sequence[int],
    share: float,
    evaluations: int,
) -> Iterator[Curve]:
    """Pretrains each on each budget from each seed, or takes the runs that are there."""
    words = [f"--config.{field}" for field in fields]
    if comparison.units and "HuBERT" in objectives:
        _units(folder / "units", fields)
    leader = resolve.resolve(resolve.load(comparison.recipes[LEADER], words))
    length = round(leader.train.steps * share)
    for seed in seeds:
        for objective in objectives:
            own = list(words)
            if objective == "HuBERT":
                own.append(f"--config.data.units=('{folder / 'units'}',)")
            recipe = resolve.resolve(resolve.load(comparison.recipes[objective], own))
            steps = {
                "examples": length,
                "arithmetic": round(length * flops(leader) / flops(recipe)),
            }
            for budget, updates in steps.items():
                if objective == LEADER and budget != "examples":
                    continue  # is the same run
                run = folder / f"{objective.replace(' ', '-')}-{budget}-{seed}"
                own_steps = [
                    f"--config.train.steps={updates}",
                    f"--config.eval.every={max(1, -(-updates // evaluations))}",
                    f"--config.seed={seed}",
                ]
                began = time.monotonic()
                _do(
                    "pretrain",
                    "--config",
                    comparison.recipes[objective],
                    "--workdir",
                    run,
                    *own,
                    *own_steps,
                )
                jax.clear_caches()
                took = time.monotonic() - began
                print(f"{run}, {updates} updates: {took:.0f} s", file=sys.stderr)
                yield curve(run, objective, budget, seed, recipe)


def flops(recipe: Any) -> float:
    """Floating-point operations of a step's matrix products, by hand."""
    each = recipe.objective.arithmetic(recipe.data.example_shapes[-1])
    return recipe.train.batch_size * sum(each.values())


def curve(run: pathlib.Path, objective: str, budget: str, seed: int, recipe: Any) -> Curve:
    """What a run wrote on its way."""
    records = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    by_step = {one["step"]: one for one in records if "eval/seconds" in one}
    names = [name for name in next(iter(by_step.values())) if name.startswith("eval/")]
    names.remove("eval/seconds")
    return Curve(
        objective,
        budget,
        seed,
        recipe.train.batch_size,
        flops(recipe),
        tuple(by_step),
        {name: tuple(one[name] for one in by_step.values()) for name in names},
    )


def _units(folder: pathlib.Path, fields: Sequence[str]) -> None:
    source = dict(field.split("=", 1) for field in fields)["data.source"]
    if not (folder / "units.json").exists():
        _do("units", source, folder)  # goes on where it was interrupted


def _do(*words: Any) -> None:
    """A `d2v` command; its table is not shown."""
    with contextlib.redirect_stdout(io.StringIO()):
        code = d2v([str(word) for word in words])
    if code:
        sys.exit(code)


def table(found: Sequence[Curve]) -> str:
    """Markdown: a row for each objective and budget, means over the seeds and their range."""
    names = list(found[0].accuracies)
    aim = {name: REACHED * max(_last(group, name)[0] for group in _groups(found)) for name in names}
    lead, *_ = names
    heads = [
        "objective",
        "examples seen",
        "TFLOP",
        *(name.removeprefix("eval/").replace("/", ", ") for name in names),
        f"examples until {aim[lead]:.3f}",
    ]
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for group in _groups(found):
        one = group[0]
        seen = one.steps[-1] * one.batch_size
        cells = [one.objective, f"{seen:,}", f"{one.steps[-1] * one.flops / 1e12:.1f}"]
        for name in names:
            mean, low, high = _last(group, name)
            best = mean == max(_last(other, name)[0] for other in _groups(found))
            value = f"{mean:.3f}".removeprefix("0")
            value = f"**{value}**" if best else value
            cells.append(f"{value} ({low:.3f} - {high:.3f})".replace("0.", "."))
        cells.append(_until(group, lead, aim[lead]))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _groups(found: Sequence[Curve]) -> list[list[Curve]]:
    """Those that differ by their seeds alone."""
    groups: dict[tuple[str, str], list[Curve]] = {}
    for one in found:
        groups.setdefault((one.objective, one.budget), []).append(one)
    return list(groups.values())


def _last(group: Sequence[Curve], name: str) -> tuple[float, float, float]:
    """Mean, least and most of the seeds at the end."""
    ends = [one.accuracies[name][-1] for one in group]
    return float(np.mean(ends)), min(ends), max(ends)


def _until(group: Sequence[Curve], name: str, aim: float) -> str:
    """After how many examples the mean of the seeds is as good, between evaluations by a line."""
    mean_e = np.mean([one.accuracies[name] for one in group], 0)
    above = np.flatnonzero(mean_e >= aim)
    if not len(above):
        return "not reached"
    steps, first = group[0].steps, int(above[0])
    if not first:
        return f"at most {steps[0] * group[0].batch_size:,}"
    at = np.interp(aim, mean_e[first - 1 : first + 1], steps[first - 1 : first + 1])
    return f"{round(at * group[0].batch_size):,}"


def picture(found: dict[str, list[Curve]]) -> bytes:
    """PNG: for each comparison the first task's linear probe, by examples and by arithmetic."""
    from matplotlib.figure import Figure  # takes a second

    figure = Figure((10, 3.4 * len(found)))
    rows = figure.subplots(len(found), 2, squeeze=False)
    for axes, (name, those) in zip(rows, found.items()):
        task = next(iter(those[0].accuracies))
        for axis, budget in zip(axes, BUDGETS):
            for group in _groups(those):
                one = group[0]
                if one.budget != budget and one.objective != LEADER:
                    continue
                each = one.batch_size if budget == "examples" else one.flops / 1e12
                xs = np.array(one.steps) * each
                of_seeds = np.array([other.accuracies[task] for other in group])
                (line,) = axis.plot(xs, of_seeds.mean(0), marker=".", label=one.objective)
                low, high = of_seeds.min(0), of_seeds.max(0)
                axis.fill_between(xs, low, high, alpha=0.2, color=line.get_color(), lw=0)
            axis.set_title(f"{name}, {BUDGETS[budget]}", fontsize=10)
            axis.set_xlabel("examples seen" if budget == "examples" else "TFLOP of products")
            axis.set_ylabel(task.removeprefix("eval/").replace("/", ", "))
            axis.legend(fontsize=8)
    figure.tight_layout()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


if __name__ == "__main__":
    sys.exit(main())
