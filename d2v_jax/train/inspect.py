"""What is in a run: its parameters, who owns them, and the recipe it follows."""

import json
import pathlib

import jax
import numpy as np

from d2v_jax.common import trees
from d2v_jax.train import run, state
from d2v_jax.train.config import Config, to_fields
from d2v_jax.train.optimizer import decay_mask


def rows(config: Config) -> list[tuple[str, str, str, str, str]]:
    """(path, shape, dtype, "teacher" or "-", "decay" or "-") of every student parameter."""
    shapes = jax.eval_shape(lambda: state.create(config))
    decays = dict(trees.leaves(decay_mask(shapes.student, config.optimizer.decays)))
    owned = {path for path, _ in trees.leaves(shapes.teacher)}
    return [
        (
            path,
            "x".join(map(str, leaf.shape)) or "scalar",
            str(np.dtype(leaf.dtype)),
            "teacher" if path in owned else "-",
            "decay" if decays[path] else "-",
        )
        for path, leaf in trees.leaves(shapes.student)
    ]


def report(workdir: pathlib.Path) -> str:
    """The table, the counts and the resolved recipe, as text."""
    config = run.read_config(workdir)
    table = [("path", "shape", "dtype", "owned by", "decay"), *rows(config)]
    widths = [max(len(row[i]) for row in table) for i in range(5)]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
             for row in table]  # fmt: skip
    shapes = jax.eval_shape(lambda: state.create(config))
    encoder = {part: tree for part, tree in shapes.student.items() if part != "decoder"}
    lines += [
        "",
        f"student  {trees.count(shapes.student):>14,} parameters",
        f"encoder  {trees.count(encoder):>14,} (the student without its decoder)",
        f"teacher  {trees.count(shapes.teacher):>14,} owned: {', '.join(shapes.teacher)}",
        "",
        json.dumps(to_fields(config), indent=2),
    ]
    return "\n".join(lines)
