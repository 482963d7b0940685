"""Our own folders of weights: config.json and one model.safetensors, for every system.

Names in the file are paths of our trees: "student/trunk/block_00/mlp/fc1/kernel", "teacher/...",
"head/...". Any tool that reads safetensors can look into them.
"""

import os
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from d2v_jax.common import trees
from d2v_jax.common.checks import UserError
from d2v_jax.interop.allowed import printable
from d2v_jax.interop.huggingface import hf_files
from d2v_jax.interop.sections import brief

FORMAT = "d2v_jax"
TREES = ("student", "teacher", "head")
HEAD = "saved_head"  # the head's fields beside its parameters, in config.json
DTYPES = (np.dtype(np.float32), np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16))


class Saved(NamedTuple):
    """A folder's content: trees of float32 arrays, the rest as `save` got it."""

    config: dict[str, Any]
    student: dict[str, Any]
    teacher: dict[str, Any] | None
    head: dict[str, Any] | None


def save(
    folder: str | os.PathLike,
    student: trees.Tree,
    teacher: trees.Tree | None,
    head: Mapping[str, Any] | None,
    config: Mapping[str, Any],
) -> None:
    """Writes the weights as float32, then config.json, each whole or not at all.

    `config`: the recipe as a nested dict, and whatever else JSON can say (tuples become lists).
    `head`: None or a dict with its parameters as `params` and, beside them, what JSON can say.
    Raises UserError for numbers that are not finite and for files that cannot be written.
    """
    flat = {}
    found = (student, teacher or {}, {} if head is None else head["params"])
    for name, tree in zip(TREES, found, strict=True):
        for path, leaf in trees.leaves(tree):
            flat[f"{name}/{path}"] = np.asarray(leaf, np.float32)
    hf_files.require_finite(flat)
    content = {"format": FORMAT, **config}
    if head is not None:
        content[HEAD] = {key: value for key, value in head.items() if key != "params"}
    path = pathlib.Path(folder).expanduser()
    hf_files.write_safetensors(path / hf_files.WEIGHTS, flat, {"format": FORMAT})
    hf_files.write_json(path / hf_files.CONFIG, content)


def load(folder: str | os.PathLike) -> Saved:
    """Reads a folder of `save`. Raises UserError for one that is damaged or someone else's."""
    path = hf_files.open_folder(folder)
    config = hf_files.read_json(path / hf_files.CONFIG)
    if (got := config.pop("format", None)) != FORMAT:
        kind = config.get("model_type")
        whose = f"a Hugging Face folder ({brief(kind)})" if kind else "of another program"
        raise UserError(
            f"{path / hf_files.CONFIG} has format={brief(got)}, not {FORMAT!r}: it is {whose}"
        )
    weights = path / hf_files.WEIGHTS
    if not weights.exists():
        raise UserError(f"{path} lacks {hf_files.WEIGHTS}; copy the whole folder again")
    try:
        built = _trees(hf_files.read_safetensors(weights))
    except UserError as error:
        text = str(error)
        raise UserError(text if text.startswith(str(path)) else f"{weights}: {text}") from None
    head = config.pop(HEAD, None)
    if (head is None) != (not built["head"]) or not isinstance(head, dict | None):
        raise UserError(
            f"{path}: only one of {hf_files.CONFIG} and {hf_files.WEIGHTS} has a head; they are "
            "not of one model"
        )
    return Saved(
        config,
        built["student"],
        built["teacher"] or None,
        None if head is None else {**head, "params": built["head"]},
    )


def _trees(flat: Mapping[str, np.ndarray]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, np.ndarray]] = {name: {} for name in TREES}
    for key, array in flat.items():
        name, _, leaf = key.partition("/")
        if name not in TREES or not all(leaf.split("/")):
            raise UserError(
                f"holds {printable(key)}, which is no path of ours; it is of another program, or "
                "the folder mixes two models"
            )
        if array.dtype not in DTYPES:
            raise UserError(f"holds {printable(key)} as {array.dtype}, not floating point")
        found[name][leaf] = array.astype(np.float32)
    hf_files.require_finite(flat)
    if not found["student"]:
        raise UserError("holds no student")
    for leaves in found.values():
        for leaf in leaves:
            parts = leaf.split("/")
            if any("/".join(parts[:i]) in leaves for i in range(1, len(parts))):
                raise UserError(f"holds {printable(leaf)} and something it would be part of")
    return {name: trees.from_leaves(leaves) for name, leaves in found.items()}
