"""Parameter trees as nested dicts, addressed by paths such as "trunk/block_00/mlp/fc1/kernel"."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

Tree = Mapping[str, Any]


def leaves(tree: Tree, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields (path, leaf) in sorted order."""
    for name in sorted(tree):
        path = f"{prefix}/{name}" if prefix else name
        if isinstance(tree[name], Mapping):
            yield from leaves(tree[name], path)
        else:
            yield path, tree[name]


def from_leaves(items: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `leaves`: {"a/b": x} becomes {"a": {"b": x}}."""
    tree: dict[str, Any] = {}
    for path, leaf in items.items():
        *parents, name = path.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = leaf
    return tree


def map_with_path(function: Callable[[str, Any], Any], tree: Tree) -> dict[str, Any]:
    """Applies `function(path, leaf)` to every leaf."""
    return from_leaves({path: function(path, leaf) for path, leaf in leaves(tree)})


def count(tree: Tree) -> int:
    """Number of array elements in the tree; works on shapes without data."""
    return sum(int(np.prod(leaf.shape)) for _, leaf in leaves(tree))
