"""A step without one of its parts. What the whole takes longer is that part's time."""

import dataclasses

import jax
from jax.sharding import Mesh

from d2v_jax.train import state, step
from d2v_jax.train.machine import compiler
from d2v_jax.train.machine import mesh as meshes
from d2v_jax.train.recipe.records import Config


def compile_without(
    part: str | None, config: Config, mesh: Mesh, shardings: state.TrainState
) -> step.TrainStep:
    """`step.compile_step` without a part of the objective, or "update"; None leaves nothing out.

    Without the update metrics alone come back, and the state is not donated.
    """
    if part is None:
        return step.compile_step(config, mesh, shardings)
    if part != "update":
        less = dataclasses.replace(config, objective=config.objective.without(part))
        return step.compile_step(less, mesh, shardings)
    copied, split = meshes.replicated(mesh), meshes.batch_sharding(mesh)
    train_step = step.step_over(config, mesh)
    return jax.jit(
        lambda state, batch: (None, train_step(state, batch)[1]),
        in_shardings=(shardings, split),
        out_shardings=copied,
        compiler_options=compiler.options(mesh),
    )
