"""One update: draw a question, differentiate its loss, learn, let what is carried follow."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from d2v_jax.common import rng, trees
from d2v_jax.common.trees import Tree
from d2v_jax.encoder.objective import Batch, Metrics
from d2v_jax.train import groups
from d2v_jax.train.machine import compiler
from d2v_jax.train.machine import mesh as meshes
from d2v_jax.train.machine.sums import square_sum
from d2v_jax.train.optimizer import learning_rate, make_optimizer
from d2v_jax.train.recipe.records import Config
from d2v_jax.train.state import TrainState

TrainStep = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]


def make_train_step(
    config: Config, gather: Callable[[Tree], Tree] = lambda tree: tree
) -> TrainStep:
    """Returns `(state, batch) -> (state, metrics)`, pure and unjitted.

    A batch holds `inputs` as they travel, `example_id` [b] and, where several processes must
    agree, `stop` [b]. Metrics are (sum, count) pairs. `gather` makes whole parameters of those
    that are spread over devices. Where the loss or a gradient is not finite, nothing but `step`
    moves, and `bad_leaf` counts where (`trees.leaves`, the loss behind them).
    """
    objective, optimizer, rate = config.objective, make_optimizer(config), learning_rate(config)
    still = groups.holder(config.optimizer)
    single = lambda value: (value, jnp.float32(1))

    def draw(batch: Batch, step: jax.Array):
        random = rng.keys(rng.stream(config.seed, "step", step), batch["example_id"])
        return objective.draw(random, batch), random

    def loss(params: Tree, state: TrainState, batch: Batch, whole: Mapping[str, jax.Array] | None):
        drawn, random = draw(batch, state.step)
        whole = whole or objective.counts(drawn)
        carried = gather(state.carried)
        params = gather(groups.unlearned(config.optimizer, params))
        return objective.loss(params, carried, drawn, random, whole, state.step)

    differentiate = jax.value_and_grad(loss, has_aux=True)

    def in_micro_batches(state: TrainState, batch: Batch):
        whole = objective.counts(draw(batch, state.step)[0])
        part_of = lambda part: differentiate(state.params, state, part, whole)
        return _summed(part_of, batch, config.train.micro_batches)

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        batch = dict(batch)
        stop = batch.pop("stop", None)
        if config.train.micro_batches == 1:
            (total, metrics), grads = differentiate(state.params, state, batch, None)
        else:
            (total, metrics), grads = in_micro_batches(state, batch)
        grads = still(grads, state.step)
        norm, bad_leaf = finite_norm(grads, total)
        if_finite = partial(jax.tree.map, lambda new, old: jnp.where(bad_leaf < 0, new, old))
        with jax.named_scope("update"):
            updates, opt_state = optimizer.update(grads, state.opt_state, state.params, norm=norm)
            params = optax.apply_updates(state.params, still(updates, state.step))
            params = if_finite(params, state.params)
            carried, followed = objective.after(state.carried, params, state.step + 1)
            carried = if_finite(carried, state.carried)
            opt_state = if_finite(opt_state, state.opt_state)
        new = TrainState(state.step + 1, params, carried, opt_state)

        metrics |= followed | {
            "loss": single(total),
            "grad_norm": single(norm),
            "learning_rate": single(rate(state.step)),
            "bad_leaf": single(bad_leaf),
        }
        if stop is not None:
            metrics["stop"] = single(stop.max())
        return new, metrics

    return train_step


def _summed(part_of: Callable[[Batch], Any], batch: Batch, parts: int) -> Any:
    """The sum of `part_of` over parts of a batch, one after the other.

    Each part takes every nth example, and so draws on every device's share.
    """
    every = jax.tree.map(lambda x: jnp.swapaxes(x.reshape(-1, parts, *x.shape[1:]), 0, 1), batch)
    like = jax.eval_shape(part_of, jax.tree.map(lambda x: x[0], every))
    nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), like)

    def add(sums: Any, part: Batch) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, sums, part_of(part)), None

    return jax.lax.scan(add, nothing, every)[0]


def finite_norm(grads: Tree, total: jax.Array) -> tuple[jax.Array, jax.Array]:
    """-> (global norm, number of the first leaf that is not finite, or -1).

    Leaves count in the order of `trees.leaves`; the loss comes behind them.
    """
    squares = [square_sum(leaf) for _, leaf in trees.leaves(grads)]
    each = jnp.stack([*squares, total])
    bad = ~jnp.isfinite(each)
    return jnp.sqrt(each[:-1].sum()), jnp.where(bad.any(), jnp.argmax(bad), -1)


def compile_step(config: Config, mesh: Mesh, shardings: TrainState) -> TrainStep:
    """The step jitted over `mesh`: examples split, state cut as in `shardings` and donated."""
    return jax.jit(
        step_over(config, mesh),
        in_shardings=(shardings, meshes.batch_sharding(mesh)),
        out_shardings=(shardings, meshes.replicated(mesh)),
        donate_argnums=0,
        compiler_options=compiler.options(mesh),
    )


def step_over(config: Config, mesh: Mesh) -> TrainStep:
    """The step as a program over `mesh`, unjitted."""
    gather = lambda tree: jax.lax.with_sharding_constraint(tree, meshes.replicated(mesh))
    train_step = make_train_step(config, gather)

    def on_mesh(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            return train_step(state, batch)

    return on_mesh
