"""What is in a checkpoint: its parameters, who owns them, and the recipe it follows."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from d2v_jax.common import trees
from d2v_jax.common.trees import Tree
from d2v_jax.encoder.objective import Fact
from d2v_jax.train.groups import groups
from d2v_jax.train.recipe.records import Config
from d2v_jax.train.recipe.resolve import to_fields

HEADS = ("path", "shape", "dtype", "owned by", "decay", "rate", "still")


def rows(config: Config, params: Tree, carried: Tree | None) -> list[tuple[str, ...]]:
    """Path, shape, dtype, who else holds it, and the optimiser's group of every parameter.

    That is "decay" or "-", the factor of the learning rate, and how long it stands still.
    """
    found = groups(config.optimizer, params)
    held = {path for path, _ in trees.leaves(carried or {})}
    return [
        (
            *_leaf(path, leaf),
            config.objective.carried_name if path in held else "-",
            "decay" if found[path].decays else "-",
            f"{found[path].rate:.4g}",
            found[path].words,
        )
        for path, leaf in trees.leaves(params)
    ]


def _leaf(path: str, leaf: Any) -> tuple[str, str, str]:
    return path, "x".join(map(str, leaf.shape)) or "scalar", str(np.dtype(leaf.dtype))


def report(
    config: Config,
    params: Tree,
    carried: Tree | None,
    head: Mapping[str, Any] | None = None,
    title: str = "",
) -> str:
    """The table, the counts and the resolved recipe, as text. Trees may hold shapes alone."""
    table = [HEADS, *rows(config, params, carried)]
    on_top = {"head": head["params"]} if head else {}
    table += [(*_leaf(path, leaf), "-", "-", "-", "-") for path, leaf in trees.leaves(on_top)]
    facts = list(config.objective.facts(params, carried))
    if head:
        said = [f"{name}={_brief(value)}" for name, value in head.items() if name != "params"]
        facts.append(Fact("head", trees.count(on_top), ", ".join(said)))
    lines = [*_columns(table), "", *([title] if title else [])]
    lines += [
        f"{fact.name:7}  {f'{fact.count:,}' if fact.count else '':>14} {fact.words}".rstrip()
        for fact in facts
    ]
    return "\n".join([*lines, "", json.dumps(to_fields(config), indent=2)])


def _columns(table: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[i]) for row in table) for i in range(len(HEADS))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    ]


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
