"""What a run is between two steps."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

from d2v_jax.common import rng
from d2v_jax.train.optimizer import make_optimizer
from d2v_jax.train.recipe.records import Config


@flax.struct.dataclass
class TrainState:
    """One record; no rng, no model, no closures in it."""

    step: jax.Array  # completed updates
    params: Any  # trained: of data2vec the student
    carried: Any  # follows them without being trained: of data2vec the teacher's own parts
    opt_state: optax.OptState


@jax.jit
def is_finite(tree: Any) -> jax.Array:
    """Whether all numbers of a tree are."""
    leaves = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in leaves]).all()


def create(config: Config) -> TrainState:
    """The state before the first update; pure, to be jitted with the wanted shardings."""
    key = rng.stream(config.seed, "init")
    params = config.objective.init(key, config.data.example_shape)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        carried=config.objective.carry(params),
        opt_state=make_optimizer(config).init(params),
    )
