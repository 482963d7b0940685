"""The teacher: the sub-trees of the model it owns, following the student as a moving average."""

from typing import Any

import jax
import jax.numpy as jnp

from d2v_jax.common.checks import require
from d2v_jax.common.trees import Tree


def start(student: Tree, owns: tuple[str, ...]) -> dict[str, Any]:
    """A copy of the owned parts, in float32."""
    missing = [part for part in owns if part not in student]
    require(
        not missing,
        f"teacher.owns names {missing}, but the model's parts are {sorted(student)}",
    )
    copy = lambda x: jnp.array(x, jnp.float32, copy=True)
    return {part: jax.tree.map(copy, student[part]) for part in owns}


def overlay(student: Tree, teacher: Tree) -> dict[str, Any]:
    """The teacher's full tree: what it does not own is borrowed from the student, no gradient."""
    return jax.lax.stop_gradient({**student, **teacher})


def move(teacher: Tree, student: Tree, decay: jax.Array) -> dict[str, Any]:
    """teacher <- decay * teacher + (1 - decay) * student, owned parts only.

    A decay of 1 freezes the teacher. Called once per update, after the optimiser, with the
    decay of the completed step (REFERENCE §2.1, T2).
    """
    owned = {part: student[part] for part in teacher}
    return jax.tree.map(lambda t, s: decay * t + (1 - decay) * s, teacher, owned)
