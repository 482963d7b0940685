"""The golden checkpoints, to be read as they are or spoilt first."""

import pathlib
from typing import Any

import numpy as np
from torch_files import zip_file

from d2v_jax.common import trees
from d2v_jax.interop.fairseq import reader
from d2v_jax.interop.pickles.torch_pickle import read

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"
# Case -> our name of the system, where their teacher lies.
SYSTEMS = {
    "v1_audio": ("v1_audio", "_ema"),
    "v1_text": ("v1_text", "encoder._ema"),
    "v1_vision": ("v1_image", "model_ema"),
    "v2_audio": ("v2_audio", "_ema"),
    "v2_image": ("v2_image", "_ema"),
    "v2_text": ("v2_text", "_ema"),
}


def checkpoint(case: str) -> dict[str, Any]:
    """What a golden file holds; its dicts are fresh with every call."""
    return read(GOLDEN / case / "checkpoint.pt")


def arrays(case: str, prefix: str) -> dict[str, np.ndarray]:
    """The recorded arrays below a prefix."""
    recorded = np.load(GOLDEN / case / "arrays.npz")
    return {k.removeprefix(prefix): recorded[k] for k in recorded.files if k.startswith(prefix)}


def imported(case: str) -> reader.Imported:
    """A golden file as it is."""
    return reader.read_fairseq(GOLDEN / case / "checkpoint.pt", images_per_device=2)


def load(tmp_path: pathlib.Path, content: Any, **options: Any) -> reader.Imported:
    """Writes what a file shall hold and reads it."""
    return reader.read_fairseq(zip_file(tmp_path / "f.pt", content), **options)


def student(content: dict[str, Any]) -> dict[str, np.ndarray]:
    """The student's arrays of a file."""
    return {k: v for k, v in content["model"].items() if not k.endswith("_ema")}


def teacher(case: str, content: dict[str, Any]) -> dict[str, np.ndarray]:
    """The teacher's arrays of a file."""
    where = SYSTEMS[case][1]
    return content[where] if where in content else content["model"][where]


def shapes(tree: trees.Tree) -> dict[str, tuple[int, ...]]:
    """Path -> shape."""
    return {path: leaf.shape for path, leaf in trees.leaves(tree)}


def same(one: trees.Tree, other: trees.Tree) -> None:
    """Fails unless two trees hold the same numbers."""
    assert shapes(one) == shapes(other)
    for (_, a), (_, b) in zip(trees.leaves(one), trees.leaves(other), strict=True):
        np.testing.assert_array_equal(a, b)
