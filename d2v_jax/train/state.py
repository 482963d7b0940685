"""What a run is between two steps."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

from d2v_jax.common import rng
from d2v_jax.data2vec import teacher
from d2v_jax.data2vec.model import Model
from d2v_jax.train.optimizer import make_optimizer
from d2v_jax.train.recipe.resolve import Config


@flax.struct.dataclass
class TrainState:
    """One record; no rng, no model, no closures in it."""

    step: jax.Array  # completed updates
    student: Any
    teacher: Any  # only the parts the teacher owns
    opt_state: optax.OptState


def create(config: Config) -> TrainState:
    """The state before the first update; pure, to be jitted with the wanted shardings."""
    key = rng.stream(config.seed, "init")
    student = Model(config.model).init(key, config.data.example_shape)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        student=student,
        teacher=teacher.start(student, config.model.teacher.owns),
        opt_state=make_optimizer(config).init(student),
    )
