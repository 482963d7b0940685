"""Whether two checkouts of d2v_jax compute the same numbers, bit for bit, in one call.

    python benchmarks/same.py --before OLDER_CHECKOUT_OF_D2V_JAX
    python benchmarks/same.py --before OLDER_CHECKOUT_OF_D2V_JAX --quick --json same.json

Every smoke recipe, whole and in parts, on one and on several pretended CPU devices: losses,
gradient norms and all other metrics of a few steps, then features, student and teacher. Exits
with 1 where anything differs, with 2 where nothing could be compared.
"""

import argparse
import contextlib
import dataclasses
import datetime
import json
import pathlib
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from differences import difference
from peers import ROOT, Contestant, Failed, commit, machine

QUICK = (
    "v1_audio_base",
    "v1_image_base",
    "v1_text_base",
    "v2_audio_base",
    "v2_image_base",
    "v2_text_base",
    "quickstart_audio",
    "quickstart_image",
    "quickstart_text",
)
CUT = ("v2_audio_base", "v2_image_base", "v2_text_base")  # also with parameters cut over devices
PARTS = {
    "whole": (),
    "micro_batches": ("train.micro_batches=2",),
    # One of the two is there: a field that a checkout does not have is left out.
    "micro_views": ("mask.micro_views=2", "train.micro_views=2"),
}
SINGLE = 8  # examples of a batch on one device: those of every smoke recipe


@dataclasses.dataclass(frozen=True)
class Case:
    recipe: str
    part: str  # of `PARTS`
    mesh: str
    devices: int
    # Of one case of a recipe: the encoder's programs know nothing of parts and meshes.
    features: bool = False

    @property
    def fields(self) -> list[str]:
        # Two for each device, so that parts have one.
        size = max(SINGLE, 2 * self.devices)
        return [f"train.batch_size={size}", f"mesh={self.mesh}", *PARTS[self.part]]

    def __str__(self) -> str:
        return f"{self.recipe:20} {self.part:14} {self.devices:2} {self.mesh:8}"


class Checkout(Contestant):
    """A worker on one checkout and one number of devices."""

    def __init__(self, name: str, checkout: pathlib.Path, spec: dict[str, Any]):
        super().__init__(name, sys.executable, "quantities.py", spec, str(checkout))
        self._checkout = checkout

    def ready(self) -> dict[str, Any]:
        facts = super().ready()
        if pathlib.Path(facts["checkout"]) != self._checkout:
            raise Failed(f"{self.name}: {self._checkout} is no checkout of d2v_jax")
        return facts

    def ask(self, case: Case, steps: int, folder: pathlib.Path) -> None:
        self._out = folder / f"{self.name}.npz"
        line = {
            "recipe": f"{case.recipe}:smoke",
            "fields": case.fields,
            "steps": steps,
            "features": case.features,
        }
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps({**line, "out": str(self._out)}) + "\n")
            self._process.stdin.flush()

    def quantities(self) -> dict[str, np.ndarray]:
        """What was asked for last. Raises `ValueError` where this case did not work."""
        answer = self._answer()
        if "failed" in answer:
            raise ValueError(f"{self.name} failed: {answer['failed']}")
        with np.load(self._out) as found:
            return {name.partition(" ")[2]: found[name] for name in found.files}


def main(argv: list[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    before, began = args.before.resolve(), time.monotonic()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        try:
            recipes = args.recipes or (QUICK if args.quick else _shipped(before))
            for devices in args.devices:
                rows += _rows(recipes, devices, args, pathlib.Path(name))
        except Failed as failure:
            print(f"same: {failure}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            return 130
    record = {
        "before": commit(before),
        "now": commit(ROOT),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "steps": args.steps,
        "seconds": round(time.monotonic() - began, 1),
        "cases": rows,
    }
    if args.json:
        args.json.write_text(json.dumps(record, indent=1) + "\n")
    print(table(record))
    return int(any(row["verdict"] != "equal" for row in rows))


def cases(views: Mapping[str, int], devices: int, features: bool = True) -> list[Case]:
    """On so many devices, recipe by recipe; `views` per example of each recipe.

    `features`: whether one case of each recipe compares them.
    """
    found = []
    for recipe in views:
        parts = [part for part in PARTS if part != "micro_views" or views[recipe] % 2 == 0]
        found += [
            Case(recipe, part, "data:-1", devices, features and part == "whole") for part in parts
        ]
        if devices > 1 and recipe in CUT:
            found.append(Case(recipe, "whole", "fsdp:-1", devices))
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "recipes",
        nargs="*",
        metavar="RECIPE",
        help="as in v2_image_base; default all that CHECKOUT ships",
    )
    parser.add_argument(
        "--before",
        type=pathlib.Path,
        metavar="CHECKOUT",
        required=True,
        help="an older d2v_jax, with this interpreter",
    )
    parser.add_argument(
        "--devices",
        type=int,
        nargs="+",
        default=[1, 8],
        metavar="N",
        help="pretended CPUs; default 1 8",
    )
    parser.add_argument(
        "--parts", nargs="+", choices=PARTS, default=list(PARTS), help="default all of them"
    )
    parser.add_argument("--steps", type=int, default=4, help="default %(default)s")
    parser.add_argument("--quick", action="store_true", help="one recipe of each system")
    parser.add_argument(
        "--parallel",
        action="store_true",
        help="both at once: twice the memory, and nothing is compiled once for both",
    )
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE")
    return parser


def _shipped(checkout: pathlib.Path) -> list[str]:
    found = sorted(path.stem for path in (checkout / "configs").glob("[!_]*_*.py"))
    if not found:
        raise Failed(f"{checkout / 'configs'} holds no recipes; is it a checkout of d2v_jax?")
    return found


def _rows(
    recipes: Sequence[str], devices: int, args: argparse.Namespace, folder: pathlib.Path
) -> list[dict[str, Any]]:
    spec = {"recipes": recipes, "devices": devices, "cache": str(folder / "compiled")}
    rows: list[dict[str, Any]] = []
    with contextlib.ExitStack() as stack:
        both = []
        for name, checkout in (("before", args.before.resolve()), ("now", ROOT)):
            one = Checkout(name, checkout, spec)
            stack.callback(one.close)
            both.append(one)
        for one in both:
            one.ready()
        every = cases(both[0].facts["views"], devices, devices == args.devices[0])
        planned = [case for case in every if case.part in args.parts]
        for number, case in enumerate(planned, 1):
            began = time.monotonic()
            row = _row(case, both, args, folder)
            row["seconds"] = round(time.monotonic() - began, 1)
            rows.append(row)
            progress = f"{devices} devices, {number}/{len(planned)}, {row['seconds']:5.1f} s"
            print(f"{progress}: {case} {row['verdict']}", file=sys.stderr)
    return rows


def _row(
    case: Case, both: list[Checkout], args: argparse.Namespace, folder: pathlib.Path
) -> dict[str, Any]:
    """Asks both, one after the other; what they say, compared."""
    row: dict[str, Any] = {"verdict": "equal", **dataclasses.asdict(case)}
    for one in both if args.parallel else ():
        one.ask(case, args.steps, folder)
    found, failures = {}, []
    for one in both:
        if not args.parallel:
            one.ask(case, args.steps, folder)
        try:
            found[one.name] = one.quantities()
        except ValueError as failure:
            failures.append(str(failure))
    if failures:
        return row | {"verdict": "; ".join(failures)}
    before, now = found["before"], found["now"]
    try:
        first = difference(before, now)
    except ValueError as failure:
        return row | {"verdict": str(failure)}
    if first:
        row |= {"verdict": str(first), "difference": dataclasses.asdict(first)}
    elif not all(np.isfinite(x).all() for name, x in before.items() if "loss.sum" in name):
        row["verdict"] = "equal, but the loss is not finite: that says nothing"
    for name in ("loss", "grad_norm"):
        row[name] = {
            who: [float(x) for key, x in values.items() if key.endswith(f" {name}.sum")]
            for who, values in found.items()
        }
    row["compared"] = len(before.keys() & now.keys())
    row["only_before"], row["only_now"] = sorted(before.keys() - now), sorted(now.keys() - before)
    return row


def table(record: Mapping[str, Any]) -> str:
    """One row per case, and what was not compared."""
    rows = record["cases"]
    lines = [
        f"{record['before']} -> {record['now']} on {record['machine']}, {record['date'][:10]}: "
        f"{record['steps']} steps of each, {record['seconds']:.0f} s in all",
        "",
        f"{'recipe':20} {'':14} on {'mesh':8} {'quantities':>10}",
    ]
    for row in rows:
        case = Case(*(row[field.name] for field in dataclasses.fields(Case)))
        lines.append(f"{case} {row.get('compared', 0):10} {row['verdict']}")
    for side, words in (("only_before", "before"), ("only_now", "now")):
        names = sorted({name for row in rows for name in row.get(side, ())})
        if names:
            shown = ", ".join(names[:4]) + (" ..." if len(names) > 4 else "")
            lines.append(f"not compared, as only {words} has them: {len(names)}: {shown}")
    differ = sum(row["verdict"] != "equal" for row in rows)
    lines.append(f"{len(rows) - differ} of {len(rows)} cases are equal bit for bit")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
