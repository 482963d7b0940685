"""The papers in one function: mask, predict, compare with the teacher, learn, let it follow."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from d2v_jax.common import rng, schedules, trees
from d2v_jax.common.trees import Tree
from d2v_jax.data2vec import objective, teacher
from d2v_jax.data2vec.loss import Mean
from d2v_jax.data2vec.model import Model
from d2v_jax.train.machine import mesh as meshes
from d2v_jax.train.optimizer import learning_rate, make_optimizer
from d2v_jax.train.recipe.resolve import Config
from d2v_jax.train.state import TrainState

Batch = dict[str, jax.Array]
Metrics = dict[str, Mean]
TrainStep = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]


def make_train_step(
    config: Config,
    gather: Callable[[Tree], Tree] = lambda tree: tree,
    kind: type[Model] = Model,
) -> TrainStep:
    """Returns `(state, batch) -> (state, metrics)`, pure and unjitted.

    A batch holds `inputs` as they travel, `example_id` [b] and, where several processes must
    agree, `stop` [b]. Metrics are (sum, count) pairs. `gather` makes whole parameters of those
    that are spread over devices. Where the loss or a gradient is not finite, nothing but `step`
    moves, and `bad_leaf` counts where (`trees.leaves`, the loss behind them).
    """
    model = kind(config.model)
    optimizer = make_optimizer(config)
    follow = config.model.teacher
    decay = schedules.linear_ramp(follow.decay_start, follow.decay_end, follow.decay_steps)
    rate = learning_rate(config)
    views, parts = config.model.mask.views, config.train.micro_batches
    view_parts = config.train.micro_views

    def draw(state: TrainState, batch: Batch):
        """-> (inputs, mask, keys per example): what is asked of the student."""
        inputs = model.prepare(batch)
        random = rng.keys(rng.stream(config.seed, "step", state.step), batch["example_id"])
        tokens = model.token_count(inputs.values.shape[1:])
        mask = model.draw_mask(random.named("mask").views(views), tokens, model.padding(inputs))
        return inputs, mask, random

    def loss_fn(student, state: TrainState, batch: Batch, whole):
        student, owned = gather(student), gather(state.teacher)
        inputs, mask, random = draw(state, batch)
        shown = model.hide_inputs(inputs, mask)
        tokens = model.tokens(student, shown, random.named("tokens"))
        with jax.named_scope("teacher"):
            targets_btd = objective.teacher_targets(
                model, student, owned, inputs, tokens, mask
            )  # fmt: skip
        whole = whole or objective.counts(model, mask)

        def answer(mask, random):
            """What the student makes of some of the views."""
            targets_nud = objective.hidden_targets(targets_btd, mask)
            with jax.named_scope("student"):
                predictions = model.predict(student, tokens, mask, random)
            total, terms = objective.losses(
                model, predictions, targets_btd, targets_nud, mask, whole
            )
            health = objective.health(
                predictions.hidden_nud, targets_nud, targets_btd, mask, model.padding(inputs)
            )
            return total, terms | health

        return in_parts(
            answer, mask, random.named("encoder").views(views), len(targets_btd), view_parts
        )

    gradient = jax.value_and_grad(loss_fn, has_aux=True)

    def whole_gradient(state: TrainState, batch: Batch):
        """-> (loss, metrics, gradients) of a batch, computed in `micro_batches` parts."""
        if parts == 1:
            (total, metrics), grads = gradient(state.student, state, batch, None)
            return total, metrics, grads
        whole = objective.counts(model, draw(state, batch)[1])

        def add(sums, part):
            (total, metrics), grads = gradient(state.student, state, part, whole)
            return jax.tree.map(jnp.add, sums, (total, metrics, grads)), None

        every = jax.tree.map(lambda x: _every_nth(x, parts), batch)
        first = jax.tree.map(lambda x: x[0], every)
        like = jax.eval_shape(gradient, state.student, state, first, whole)
        (total, metrics), grads = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), like)
        return jax.lax.scan(add, (total, metrics, grads), every)[0]

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        batch = dict(batch)
        stop = batch.pop("stop", None)
        total, metrics, grads = whole_gradient(state, batch)
        norm, bad_leaf = finite_norm(grads, total)
        with jax.named_scope("update"):
            updates, opt_state = optimizer.update(grads, state.opt_state, state.student)
            student = optax.apply_updates(state.student, updates)
            moved = teacher.move(state.teacher, student, decay(state.step + 1))
        new = TrainState(state.step + 1, student, moved, opt_state)
        held = state.replace(step=state.step + 1)
        new = jax.tree.map(lambda now, old: jnp.where(bad_leaf < 0, now, old), new, held)

        single = lambda value: (value, jnp.float32(1))
        metrics |= {
            "loss": single(total),
            "grad_norm": single(norm),
            "learning_rate": single(rate(state.step)),
            "teacher_decay": single(decay(state.step + 1)),
            "bad_leaf": single(bad_leaf),
        }
        if stop is not None:
            metrics["stop"] = single(stop.max())
        return new, metrics

    return train_step


def in_parts(
    answer: Callable[[Any, rng.Keys], Any], mask: Any, random: rng.Keys, batch: int, parts: int
) -> Any:
    """The sum of `answer(mask, random)` over parts of each example's views, one after the other.

    Backwards each part is computed once more: only one part's activations are held at a time.
    """
    if parts == 1:
        return answer(mask, random)
    # Views of one example lie side by side: [n, ...] -> [parts, n / parts, ...].
    split = lambda x: jnp.swapaxes(x.reshape(batch, parts, -1, *x.shape[1:]), 0, 1).reshape(
        parts, -1, *x.shape[1:]
    )

    @jax.checkpoint
    def add(sums: Any, part: Any) -> tuple[Any, None]:
        mask, each_n = part
        return jax.tree.map(jnp.add, sums, answer(mask, rng.Keys(random.all, each_n))), None

    every = jax.tree.map(split, mask), split(random.each_n)
    first = jax.tree.map(lambda x: x[0], every)
    like = jax.eval_shape(lambda m, e: answer(m, rng.Keys(random.all, e)), *first)
    return jax.lax.scan(add, jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), like), every)[0]


def finite_norm(grads: Tree, total: jax.Array) -> tuple[jax.Array, jax.Array]:
    """-> (global norm, number of the first leaf that is not finite, or -1).

    Leaves count in the order of `trees.leaves`; the loss comes behind them.
    """
    squares = [jnp.sum(jnp.square(leaf.astype(jnp.float32))) for _, leaf in trees.leaves(grads)]
    each = jnp.stack([*squares, total])
    bad = ~jnp.isfinite(each)
    return jnp.sqrt(each[:-1].sum()), jnp.where(bad.any(), jnp.argmax(bad), -1)


def _every_nth(x: jax.Array, parts: int) -> Any:
    """[b, ...] -> [parts, b / parts, ...], so that each part draws on every device's share."""
    return jnp.swapaxes(x.reshape(-1, parts, *x.shape[1:]), 0, 1)


def compile_step(
    config: Config, mesh: Mesh, shardings: TrainState, kind: type[Model] = Model
) -> TrainStep:
    """The step jitted over `mesh`: examples split, state cut as in `shardings` and donated."""
    whole, split = meshes.replicated(mesh), meshes.batch_sharding(mesh)
    gather = lambda tree: jax.lax.with_sharding_constraint(tree, whole)
    return jax.jit(
        make_train_step(config, gather, kind),
        in_shardings=(shardings, split),
        out_shardings=(shardings, whole),
        donate_argnums=0,
    )
