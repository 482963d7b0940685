"""What is in a checkpoint: its parameters, who owns them, and the recipe it follows."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from d2v_jax.common import trees
from d2v_jax.common.trees import Tree
from d2v_jax.train.optimizer import decay_mask
from d2v_jax.train.recipe.resolve import Config, to_fields

HEADS = ("path", "shape", "dtype", "owned by", "decay")


def rows(
    config: Config, student: Tree, teacher: Tree | None
) -> list[tuple[str, str, str, str, str]]:
    """(path, shape, dtype, "teacher" or "-", "decay" or "-") of every student parameter."""
    decays = dict(trees.leaves(decay_mask(student, config.optimizer.decays)))
    owned = {path for path, _ in trees.leaves(teacher or {})}
    return [
        (
            *_leaf(path, leaf),
            "teacher" if path in owned else "-",
            "decay" if decays[path] else "-",
        )
        for path, leaf in trees.leaves(student)
    ]


def _leaf(path: str, leaf: Any) -> tuple[str, str, str]:
    return path, "x".join(map(str, leaf.shape)) or "scalar", str(np.dtype(leaf.dtype))


def report(
    config: Config,
    student: Tree,
    teacher: Tree | None,
    head: Mapping[str, Any] | None = None,
    title: str = "",
) -> str:
    """The table, the counts and the resolved recipe, as text. Trees may hold shapes alone."""
    table = [HEADS, *rows(config, student, teacher)]
    params = {"head": head["params"]} if head else {}
    table += [(*_leaf(path, leaf), "-", "-") for path, leaf in trees.leaves(params)]
    widths = [max(len(row[i]) for row in table) for i in range(len(HEADS))]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
             for row in table]  # fmt: skip
    encoder = {part: tree for part, tree in student.items() if part != "decoder"}
    without = "the student without its decoder" if "decoder" in student else "there is no decoder"
    lines += [
        "",
        *([title] if title else []),
        f"student  {trees.count(student):>14,} parameters",
        f"encoder  {trees.count(encoder):>14,} ({without})",
        f"teacher  {trees.count(teacher):>14,} owned: {', '.join(teacher)}"
        if teacher else "teacher           none in this checkpoint",
    ]  # fmt: skip
    if head:
        said = [f"{name}={_brief(value)}" for name, value in head.items() if name != "params"]
        lines.append(f"head     {trees.count(params):>14,} {', '.join(said)}")
    return "\n".join([*lines, "", json.dumps(to_fields(config), indent=2)])


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
