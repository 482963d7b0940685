"""The papers in one function: mask, predict, compare with the teacher, learn, let it follow."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from d2v_jax.common import rng, schedules
from d2v_jax.data2vec import objective, teacher
from d2v_jax.data2vec.loss import Mean
from d2v_jax.data2vec.model import Model
from d2v_jax.train import mesh as meshes
from d2v_jax.train.config import Config
from d2v_jax.train.optimizer import learning_rate, make_optimizer
from d2v_jax.train.state import TrainState

Metrics = dict[str, Mean]
TrainStep = Callable[[TrainState, dict[str, jax.Array]], tuple[TrainState, Metrics]]


def make_train_step(config: Config) -> TrainStep:
    """Returns `(state, batch) -> (state, metrics)`, pure and unjitted.

    A batch holds `inputs` as they travel and `example_id` [b]. Metrics are (sum, count) pairs.
    """
    model = Model(config.model)
    optimizer = make_optimizer(config)
    follow = config.model.teacher
    decay = schedules.linear_ramp(follow.decay_start, follow.decay_end, follow.decay_steps)
    rate = learning_rate(config)
    views = config.model.mask.views

    def train_step(state: TrainState, batch: dict[str, jax.Array]) -> tuple[TrainState, Metrics]:
        def keys(name: str) -> jax.Array:
            return rng.per_view(
                rng.stream(config.seed, name, state.step), batch["example_id"], views
            )

        inputs = model.prepare(batch["inputs"])
        mask = model.draw_mask(keys("mask"))

        def loss_fn(student):
            tokens_btd = model.tokens(student, inputs)
            targets_btd = objective.teacher_targets(
                model, student, state.teacher, inputs, tokens_btd
            )
            targets_nud = objective.hidden_targets(targets_btd, mask)
            predictions = model.predict(student, tokens_btd, mask, keys("noise"))
            total, terms = objective.losses(model, predictions, targets_btd, targets_nud)
            health = objective.health(predictions.hidden_nud, targets_nud, targets_btd)
            return total, terms | health

        (total, metrics), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.student)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.student)
        student = optax.apply_updates(state.student, updates)
        moved = teacher.move(state.teacher, student, decay(state.step + 1))

        single = lambda value: (value, jnp.float32(1))
        metrics |= {
            "loss": single(total),
            "grad_norm": single(optax.global_norm(grads)),
            "learning_rate": single(rate(state.step)),
            "teacher_decay": single(decay(state.step + 1)),
        }
        return TrainState(state.step + 1, student, moved, opt_state), metrics

    return train_step


def compile_step(config: Config, mesh: Mesh) -> TrainStep:
    """The step jitted over `mesh`: examples split, state donated, one trace."""
    whole, split = meshes.replicated(mesh), meshes.batch_sharding(mesh)
    return jax.jit(
        make_train_step(config),
        in_shardings=(whole, split),
        out_shardings=(whole, whole),
        donate_argnums=0,
    )
