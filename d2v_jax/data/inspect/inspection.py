"""`d2v data inspect`: what is in a source, before anyone trains on it."""

import json
import pathlib
from typing import Any

from d2v_jax.common.checks import UserError
from d2v_jax.common.files import write_whole
from d2v_jax.common.names import ESCAPED
from d2v_jax.data.inspect import charts
from d2v_jax.data.inspect.findings import Findings
from d2v_jax.data.modality import Data
from d2v_jax.data.stores.folder import passed_over

SHOWN = 20  # unreadable records, duplicates and classes; all are in inspect.json
FILE = "inspect.json"


def inspect(data: Data, out: pathlib.Path | None, sample: int | None) -> str:
    """Reads every source that `data.source` joins, or `sample` records of each; returns the report.

    `out`: a folder for inspect.json, which holds all of it, and pictures. Only files of the same
    names are replaced there. Raises `UserError` where a source cannot be opened.
    """
    if out is not None:
        out = out.expanduser()
        _make(out)  # before the hours that reading may take
    found = [one.look(sample) for one in data.each()]
    texts = [_text(one) for one in found]
    if out is not None:
        write_whole(out / FILE, json.dumps([_fields(one) for one in found], indent=1).encode())
        names = [name for number, one in enumerate(found) for name in _draw(one, number, out)]
        texts.append(f"{out}: {', '.join((FILE, *names))}")
    return _printable("\n\n".join(texts))


def _make(out: pathlib.Path) -> None:
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out}: is a file, not a folder")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out {out}: cannot be made ({error.strerror}); give another") from error


def _printable(text: str) -> str:
    """What is not UTF-8 is escaped."""
    return text.encode(errors=ESCAPED).decode()


def _text(one: Findings) -> str:
    lines = [one.source, *(f"  {name:22}{value}" for name, value in one.facts.items())]
    if one.passed_over:
        lines.append(f"  {'passed over':22}{passed_over(one.passed_over)}")
    if one.classes:
        lines += ["", f"{len(one.classes):,} classes, examples of each"]
        listed = sorted(one.classes.items(), key=lambda item: -item[1])
        rows = [f"  {count:8,}  {name}" for name, count in listed]
        lines += rows if len(rows) <= SHOWN else [*rows[: SHOWN - 3], "       ...", *rows[-3:]]
    for name, values in one.histograms.items():
        lines += ["", name, *charts.bars(values)]
    for title, entries in (("left out or unreadable", one.bad), ("duplicates", one.duplicates)):
        if entries:
            lines += ["", f"{len(entries):,} {title}"]
            lines += [f"  {name}: {what}" for name, what in list(entries.items())[:SHOWN]]
            if len(entries) > SHOWN:
                lines.append(f"  and {len(entries) - SHOWN:,} more (all with --out DIR)")
    return "\n".join(lines)


def _fields(one: Findings) -> dict[str, Any]:
    return {
        "source": one.source,
        "fingerprint": one.fingerprint,
        "records": one.records,
        "looked_at": one.looked_at,
        **one.numbers,
        "classes": one.classes,
        "passed_over": one.passed_over,
        "bad": one.bad,
        "duplicates": one.duplicates,
        "histograms": {name: charts.counted(values) for name, values in one.histograms.items()},
    }


def _draw(one: Findings, number: int, out: pathlib.Path) -> list[str]:
    """Names of the pictures written."""
    before = f"{number}_" if number else ""
    names = []
    if any(len(values) for values in one.histograms.values()):
        names.append(f"{before}histograms.png")
        charts.histograms(out / names[-1], _printable(one.source), one.histograms)
    if one.waves:
        names.append(f"{before}waves.png")
        charts.waves(out / names[-1], {_printable(name): w for name, w in one.waves.items()})
    if one.pictures:
        names.append(f"{before}pictures.png")
        charts.sheet(out / names[-1], one.pictures)
    return names
