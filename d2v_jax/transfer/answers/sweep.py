"""One fine-tuning for every combination of settings, each a run folder of its own, and a table."""

import dataclasses
import itertools
import json
import pathlib
import statistics
from collections.abc import Callable, Mapping, Sequence

from d2v_jax.common.checks import UserError

SEED = "seed"


@dataclasses.dataclass(frozen=True)
class Axis:
    """A field and the values it takes: "optimizer.learning_rate=1e-5,2e-5"."""

    field: str
    values: tuple[str, ...]

    @classmethod
    def of(cls, words: str) -> "Axis":
        """Raises `UserError` for anything that is not FIELD=A,B."""
        field, sign, values = words.partition("=")
        found = tuple(value.strip() for value in values.split(",") if value.strip())
        if not sign or not field.strip() or not found:
            raise UserError(
                f"--over {words!r} is not understood; write FIELD=A,B as in "
                "optimizer.learning_rate=1e-5,2e-5 or seed=0,1,2"
            )
        return cls(field.strip(), found)


Setting = Mapping[str, str]  # the value of each field


def settings(axes: Sequence[Axis]) -> list[Setting]:
    """Every combination."""
    names = [axis.field for axis in axes]
    if len(set(names)) < len(names):
        raise UserError(f"--over names a field twice: {', '.join(names)}")
    return [dict(zip(names, values)) for values in itertools.product(*(a.values for a in axes))]


def folder(workdir: pathlib.Path, setting: Setting) -> pathlib.Path:
    """The run of one combination: "learning_rate=1e-5,seed=0"."""
    words = ",".join(f"{name.rpartition('.')[2]}={value}" for name, value in setting.items())
    return workdir / words.replace("/", "_")


def run(
    workdir: pathlib.Path, found: Sequence[Setting], train: Callable[[pathlib.Path, Setting], int]
) -> int:
    """Trains each that is not complete; -> the first exit code that is not 0, or 0."""
    for one in found:
        if code := train(folder(workdir, one), one):
            return code
    return 0


def table(workdir: pathlib.Path, found: Sequence[Setting], measure: str) -> str:
    """The last `measure` of every run; with several seeds their median and range.

    `measure`: a name in metrics.jsonl, "-NAME" where higher is better; the best comes first.
    """
    higher, name = measure.startswith("-"), measure.removeprefix("-")
    groups: dict[tuple[tuple[str, str], ...], list[float]] = {}
    for one in found:
        key = tuple((field, value) for field, value in one.items() if field != SEED)
        groups.setdefault(key, []).append(_last(folder(workdir, one), name))
    ordered = sorted(groups.items(), key=lambda pair: statistics.median(pair[1]), reverse=higher)
    fields = [field for field in found[0] if field != SEED] or ["all"]
    head = [*fields, f"median {name}", "lowest", "highest", "runs"]
    cells = [head]
    for key, values in ordered:
        numbers = (statistics.median(values), min(values), max(values))
        shown = [value for _, value in key] or ["-"]
        cells.append([*shown, *(f"{number:.4f}" for number in numbers), str(len(values))])
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in cells
    )


def _last(path: pathlib.Path, name: str) -> float:
    """Of a run's records the last that has it."""
    try:
        lines = (path / "metrics.jsonl").read_text().splitlines()
    except OSError as error:
        raise UserError(f"{path} has no records: {error.strerror}") from None
    records = [json.loads(line) for line in lines]
    values = [one[name] for one in records if one.get(name) is not None]
    if not values:
        known = sorted({key for one in records for key in one if key.startswith("eval/")})
        raise UserError(
            f"--measure {name!r} is not in the records of {path}; there are "
            f"{', '.join(known) or 'no evaluations, set --config.eval.every'}"
        )
    return float(values[-1])
