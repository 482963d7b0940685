"""What `d2v data bench` has found, for people and for programs."""

import dataclasses
import os
import platform
from collections.abc import Mapping, Sequence
from typing import Any

from d2v_jax.data.modality import Data
from d2v_jax.measure.plain_loops import Beside

FEW = 100  # records
FORMAT = "d2v_jax.bench.1"


@dataclasses.dataclass(frozen=True)
class Stage:
    """Per second: records, megabytes of stored records, and values (samples, tokens)."""

    name: str
    records: float
    megabytes: float
    values: float
    threads: int = 0
    workers: int = 0


@dataclasses.dataclass(frozen=True)
class Subject:
    """What is measured.

    `record_bytes`: mean size of a stored record. `skipped`: reasons by name. `compared`: what is
    counted beside a plain loop.
    """

    cfg: Data
    records: int
    record_bytes: float
    skipped: Mapping[str, str]
    compared: str

    @property
    def unit(self) -> tuple[str, float] | None:
        """In which values are counted, and how many make one; None where they are not."""
        return self.cfg.counted


def figures(subject: Subject, stages: Sequence[Stage], besides: Sequence[Beside]) -> dict[str, Any]:
    """All of it, for JSON."""
    rows = []
    for stage in stages:
        row = {
            "stage": stage.name,
            "threads": stage.threads,
            "workers": stage.workers,
            "records_per_s": stage.records,
            "mb_per_s": stage.megabytes,
        }
        if subject.unit:
            name, size = subject.unit
            row[f"{name.replace(' ', '_')}_per_s"] = stage.values / size
        rows.append(row)
    return {
        "format": FORMAT,
        "source": subject.cfg.source,
        "records": subject.records,
        "record_bytes": subject.record_bytes,
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "skipped": dict(subject.skipped),
        "stages": rows,
        "beside": [dataclasses.asdict(one) for one in besides],
        "data": dataclasses.asdict(subject.cfg),
    }


def table(subject: Subject, stages: Sequence[Stage], besides: Sequence[Beside]) -> str:
    """All of it, for people."""
    lines = [
        f"{subject.cfg.source}: {subject.records:,} records of {subject.record_bytes / 1e3:,.1f} "
        f"kB; {os.cpu_count()} processors",
        "",
    ]
    head = ["stage, per second", "records", "MB"]
    if subject.unit:
        head.append(subject.unit[0])
    rows = [head]
    for stage in stages:
        row = [stage.name, _number(stage.records), _number(stage.megabytes)]
        if subject.unit:
            row.append(_number(stage.values / subject.unit[1]))
        if stage.workers > 1:
            row[0] += f" ({_number(stage.records / stage.workers)} records each)"
        rows.append(row)
    widths = [max(map(len, column)) for column in zip(*rows)]
    for first, *others in rows:
        cells = [first.ljust(widths[0]), *(o.rjust(w) for o, w in zip(others, widths[1:]))]
        lines.append("  ".join(cells))
    if besides:
        loop, what = besides[0].plain_loop, subject.compared
        lines += ["", f"beside a plain loop ({loop}), {what} per second of a core"]
    for one in besides:
        line = (
            f"{one.what}: {one.ratio:.2f} times as fast, {_number(one.ours)} to "
            f"{_number(one.plain)} (median of {one.pairs} pairs)"
        )
        if one.difference is not None:
            line += f"; {one.difference:.2f} grey levels from it on average"
        lines.append(line)
    if not besides:
        lines += ["", "no plain loop: it has no files to read"]
    if subject.skipped:
        name, reason = next(iter(subject.skipped.items()))
        lines.append(
            f"{len(subject.skipped)} unreadable records left out, such as {name}: {reason}"
        )
    if subject.records < FEW:
        lines.append(
            f"only {subject.records} records: they are read from memory, not from the disk, and "
            "the figures vary"
        )
    return "\n".join(lines)


def _number(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.3g}"
