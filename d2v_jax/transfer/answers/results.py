"""Records of evaluations: one JSON each, printed and drawn side by side."""

import hashlib
import importlib.metadata
import json
import logging
import pathlib
import platform
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from d2v_jax.common import files, trees
from d2v_jax.common.checks import UserError
from d2v_jax.common.names import writable
from d2v_jax.train import checkpoint
from d2v_jax.train.recipe.records import Config
from d2v_jax.train.recipe.resolve import to_fields

log = logging.getLogger("d2v")


class Encoder(Protocol):
    recipe: Config
    params: trees.Tree
    step: int


class Measured(Protocol):
    numbers: dict[str, float]
    intervals: dict[str, tuple[float, float]]


FOLDER = "results"
FORMAT = "d2v_jax.result.1"
PACKAGES = ("jax", "flax", "numpy", "scikit-learn", "scipy", "jiwer")


def record(
    config: Config, model: Encoder, task: str, examples: int, found: Measured
) -> dict[str, Any]:
    """What one evaluation found, and all it depends on. `config`: whose data were tested on."""
    data, learnt = config.data, model.recipe
    return {
        "format": FORMAT,
        "task": task,
        "model": learnt.recipe,
        "step": model.step,
        "checkpoint": weights_hash(model.params),
        "source": data.source,
        "split": data.split,
        "data": data.labelled_source().fingerprint,
        "learnt": _learnt(learnt),
        "examples": examples,
        "seed": learnt.seed,
        "numbers": found.numbers,
        "intervals": {name: list(pair) for name, pair in found.intervals.items()},
        "versions": {"python": platform.python_version(), **_versions()},
        "recipe": to_fields(learnt),
    }


def _learnt(recipe: Config) -> dict[str, Any]:
    """What a head was trained on, where that was done here."""
    if not recipe.objective.own_head:
        return {"source": "elsewhere", "split": "", "per_class": 0}
    return {name: getattr(recipe.data, name) for name in ("source", "split", "per_class")}


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def weights_hash(params: trees.Tree) -> str:
    """Of all numbers and their paths, the same on every machine."""
    digest = hashlib.sha256()
    for path, leaf in trees.leaves(params):
        digest.update(path.encode())
        digest.update(np.ascontiguousarray(leaf, "<f4").tobytes())
    return digest.hexdigest()[:16]


def keep(path: pathlib.Path, one: dict[str, Any]) -> pathlib.Path | None:
    """Writes the record into the run's `results/`; says so where `path` is no run."""
    if not (path / checkpoint.FOLDER).is_dir():
        log.info("%s is no run folder: the result is not kept", path)
        return None
    what = hashlib.sha256(
        f"{one['source']} {one['split']}".encode(errors="surrogateescape")
    ).hexdigest()[:6]
    out = path / FOLDER / f"{one['task']}-{what}-step{one['step']}.json"
    if not files.keep_if_possible(out, json.dumps(one, indent=2) + "\n", "result"):
        return None
    log.info("kept in %s", out)
    return out


def read(paths: Sequence[pathlib.Path]) -> list[dict[str, Any]]:
    """The records of these runs, or of single files."""
    found = []
    for path in paths:
        files = sorted((path / FOLDER).glob("*.json")) if path.is_dir() else [path]
        if not files:
            raise UserError(f"{path} holds no results; d2v evaluate {path} makes one")
        for file in files:
            try:
                one = json.loads(file.read_text())
            except (OSError, ValueError) as error:
                raise UserError(f"{file} cannot be read as JSON: {error}") from None
            if not isinstance(one, dict) or one.get("format") != FORMAT:
                raise UserError(f"{file} is no result of d2v evaluate")
            found.append({**one, "file": str(file), "run": str(path)})
    return found


HEADS = (
    "model",
    "task",
    "learnt from",
    "tested on",
    "examples",
    "step",
    "measure",
    "value",
    "95 %",
)


def rows(found: Sequence[dict[str, Any]]) -> list[tuple[str, ...]]:
    """One for each number of each record."""
    lines = []
    for one in found:
        learnt = one["learnt"]
        few = f", {learnt['per_class']} per class" if learnt["per_class"] else ""
        for name, value in one["numbers"].items():
            low_high = one["intervals"].get(name)
            interval = f"{low_high[0]:.4f} - {low_high[1]:.4f}" if low_high else ""
            cells = (
                one.get("run", one["model"]),
                one["task"],
                f"{learnt['source']} {learnt['split']}{few}".rstrip(),
                f"{one['source']} {one['split']}",
                f"{one['examples']:,}",
                f"{one['step']:,}",
                name,
                f"{value:.4f}",
                interval,
            )
            lines.append(tuple(map(writable, cells)))
    return lines


def table(found: Sequence[dict[str, Any]]) -> str:
    """As text, a line for each number."""
    cells = [HEADS, *rows(found)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(HEADS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in cells
    )
