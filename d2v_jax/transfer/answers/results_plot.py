"""Results as a picture and as one page that needs nothing else."""

import base64
import html
import io
import pathlib
from collections.abc import Sequence
from typing import Any

from d2v_jax.common.files import write_whole
from d2v_jax.common.names import writable
from d2v_jax.transfer.answers import results

PICTURE, PAGE = "results.png", "results.html"
STYLE = (
    "body{font:15px sans-serif;margin:2em;max-width:70em}table{border-collapse:collapse}"
    "td,th{padding:.3em .8em;border-bottom:1px solid #ccc;text-align:left}"
    "img{max-width:100%}"
)


def draw(found: Sequence[dict[str, Any]], out: pathlib.Path) -> str:
    """Writes both into the folder `out`; returns what to tell the user."""
    picture = _picture(found)
    write_whole(out / PICTURE, picture)
    write_whole(out / PAGE, _page(found, picture))
    return f"{out / PICTURE} and {out / PAGE}"


def _picture(found: Sequence[dict[str, Any]]) -> bytes:
    """A PNG: a row of bars for each measure, with its intervals."""
    from matplotlib.figure import Figure  # takes a second

    measures = list(dict.fromkeys(name for one in found for name in one["numbers"]))
    figure = Figure((8, 1 + sum(0.5 + 0.4 * _count(found, name) for name in measures)))
    axes = figure.subplots(len(measures), 1, squeeze=False)[:, 0]
    for axis, name in zip(axes, measures):
        having = [one for one in found if name in one["numbers"]][::-1]
        values = [one["numbers"][name] for one in having]
        errors = [[], []]
        for one, value in zip(having, values):
            low, high = one["intervals"].get(name) or (value, value)
            errors[0].append(max(value - low, 0))
            errors[1].append(max(high - value, 0))
        axis.barh(range(len(having)), values, xerr=errors, color="#4878a8", capsize=3)
        labels = [_label(one) for one in having]
        # parse_math: a dollar sign in a name is no formula.
        axis.set_yticks(range(len(having)), labels, fontsize=8, parse_math=False)
        axis.set_title(name, fontsize=10, parse_math=False)
    figure.tight_layout()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()


def _count(found: Sequence[dict[str, Any]], name: str) -> int:
    return sum(name in one["numbers"] for one in found)


def _label(one: dict[str, Any]) -> str:
    run = pathlib.Path(one.get("run", one["model"])).name
    return writable(f"{run}, {one['task']} at {one['step']}")


def _page(found: Sequence[dict[str, Any]], picture: bytes) -> str:
    """HTML with the picture inside."""
    cells = lambda row, tag: "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row)
    body = "\n".join(f"<tr>{cells(row, 'td')}</tr>" for row in results.rows(found))
    image = base64.b64encode(picture).decode()
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Results</title>'
        f"<style>{STYLE}</style></head><body>\n<h1>Results</h1>\n"
        f'<img alt="bars of every result" src="data:image/png;base64,{image}">\n'
        f"<table><tr>{cells(results.HEADS, 'th')}</tr>\n{body}</table>\n</body></html>\n"
    )
