"""The table of `README.md` of one GPU: recipes beside torch, in bfloat16. `gpu.sh` calls it.

    python benchmarks/gpu.py --fairseq CHECKOUT --torch-python PYTHON [--minutes 9]
    python benchmarks/gpu.py --dry-run

What was measured is kept, row by row; a second call measures only what is missing. A dry run takes
the smoke recipes on whatever device there is, and prints the table instead of writing it.
"""

import argparse
import dataclasses
import json
import pathlib
import re
import sys
import time
from typing import Any

import peers

BLOCK = re.compile(r"(?<=<!-- gpu -->\n).*?(?=<!-- /gpu -->)", re.DOTALL)
CARD = 22  # GiB that `Row.examples` are for; of a larger card twice, four times, ... as many


@dataclasses.dataclass(frozen=True)
class Row:
    """A recipe, and whom it is measured beside."""

    recipe: str
    examples: int  # of a step, all contestants on a card of `CARD` GiB; halved where too many
    fairseq: bool = True
    transformers: bool = False
    fused: bool = False  # the student's attention can be cuDNN's: measured with it too


ROWS = (
    Row("v2_image_base", 16, fused=True),
    Row("v2_audio_base", 4),
    Row("v2_text_base", 4),
    Row("v1_audio_base", 8, transformers=True),
    Row("v1_image_base", 32, fairseq=False, transformers=True),
    Row("v1_text_base", 16, transformers=True),
    Row("v2_image_large", 4, fused=True),
)


def main(argv: list[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    kept = json.loads(args.json.read_text()) if args.json and args.json.exists() else {}
    began, failed = time.monotonic(), []
    for row in ROWS:
        if row.recipe in kept:
            continue
        if time.monotonic() - began > 60 * args.minutes:
            failed.append(f"{row.recipe}: no time left; call again")
            continue
        try:
            kept[row.recipe] = measured(row, args)
        except peers.Failed as failure:
            failed.append(f"{row.recipe}: {failure}")
            continue
        except KeyboardInterrupt:
            return 130
        if args.json:
            args.json.write_text(json.dumps(kept, indent=1) + "\n")
    for words in failed:
        print(f"gpu: {words}", file=sys.stderr)
    if not kept:
        return 2
    text = table([kept[row.recipe] for row in ROWS if row.recipe in kept])
    if args.readme:
        args.readme.write_text(written(args.readme.read_text(), text))
    print(text)
    return 2 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fairseq", metavar="CHECKOUT")
    parser.add_argument("--torch-python", metavar="PYTHON", help="one with torch for the others")
    parser.add_argument("--memory", type=float, metavar="GIB", help="of the GPU")
    parser.add_argument(
        "--minutes", type=float, default=9, help="no row begins later; default %(default)g"
    )
    parser.add_argument("--rounds", type=int, default=5, help="default %(default)s")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="where rows are kept")
    parser.add_argument("--readme", type=pathlib.Path, help="the page to write the table into")
    parser.add_argument("--dry-run", action="store_true", help="smoke recipes, two rounds")
    return parser


def measured(row: Row, args: argparse.Namespace) -> dict[str, Any]:
    """The record of `peers`, with half the examples where so many do not fit."""
    examples = examples_of(row, args)
    while True:
        try:
            return peers.measured(peers.parser().parse_args(words(row, args, examples)))
        except peers.Failed as failure:
            small = examples == 1 or args.dry_run
            if small or not re.search("(?i)out of memory|resource_exhausted", str(failure)):
                raise
            print(f"gpu: {failure}; with {examples // 2} examples ...", file=sys.stderr)
            examples //= 2


def examples_of(row: Row, args: argparse.Namespace) -> int:
    """As many times `row.examples` as the card is larger, in powers of two."""
    if args.dry_run:
        return 2
    times = max(int((args.memory or CARD) / CARD), 1)
    return row.examples * 2 ** (times.bit_length() - 1)


def words(row: Row, args: argparse.Namespace, examples: int) -> list[str]:
    """The command line of `peers`."""
    smoke = ":smoke" if args.dry_run else ""
    found = [row.recipe + smoke, "--dtype", "bfloat16", "--batch", str(examples)]
    found += ["--rounds", str(2 if args.dry_run else args.rounds)]
    found += ["--seconds-of-sound", "0.5"] if args.dry_run else []
    if row.transformers and args.torch_python:
        found += ["--torch-python", args.torch_python]
    if row.fairseq and args.torch_python and args.fairseq:
        found += ["--fairseq", args.fairseq, "--fairseq-python", args.torch_python]
    return found + (["--compare", "trunk.fused_attention=True"] if row.fused else [])


def table(records: list[dict[str, Any]]) -> str:
    """Markdown; one row for each record, and what was measured with which versions."""
    facts = records[0]["contestants"]["ours"]["facts"]
    lines = [
        f"{_device(facts)}, {records[0]['date'][:10]}; {_versions(records)}.",
        "",
        "| recipe | examples | step, ms | examples/s | of the data sheet | "
        "with cuDNN's attention, examples/s | fairseq, times ours | transformers, times ours |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    return "\n".join(lines + [_row(record) for record in records]) + "\n"


def _row(record: dict[str, Any]) -> str:
    contestants = record["contestants"]
    ours = contestants["ours"]
    facts, step_s = ours["facts"], ours["median_s"]
    peak = facts.get("peak_flops")
    share = f"{facts['products'] / step_s / peak / facts['devices']:.0%}" if peak else "-"
    rate = lambda one: f"{facts['examples'] / one['median_s']:,.1f}"
    beside = lambda name, show: show(contestants[name]) if name in contestants else "-"
    times = lambda one: f"{one['times_ours'][1]:.2f}"
    cells = (
        f"`{record['recipe']}`",
        f"{facts['examples']}",
        f"{1000 * step_s:,.1f}",
        rate(ours),
        share,
        beside("other", rate),
        beside("fairseq", times),
        beside("transformers", times),
    )
    return f"| {' | '.join(cells)} |"


def _device(facts: dict[str, Any]) -> str:
    """As JAX calls it, and its peak."""
    if not (peak := facts.get("peak_flops")):
        return f"{facts['device']} (not in the table of data sheets)"
    return f"{facts['device']} ({peak / 1e12:,.0f} TFLOP/s, {facts['dtype']})"


def _versions(records: list[dict[str, Any]]) -> str:
    found: dict[str, str] = {}
    for record in records:
        for one in record["contestants"].values():
            found |= one["facts"]["versions"]
    return ", ".join(f"{name} {version}" for name, version in found.items())


def written(page: str, text: str) -> str:
    """The page with the table in its marked block. Raises `ValueError` where it has none."""
    if not BLOCK.search(page):
        raise ValueError("the page has no <!-- gpu --> ... <!-- /gpu --> to write into")
    return BLOCK.sub(lambda _: text, page, count=1)


if __name__ == "__main__":
    sys.exit(main())
