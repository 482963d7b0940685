"""Adam as the original runs computed it, with clipping and decoupled weight decay."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from d2v_jax.common import schedules, trees
from d2v_jax.common.trees import Tree
from d2v_jax.train import groups
from d2v_jax.train.recipe.records import Config, OptimizerConfig


class AdamState(NamedTuple):
    count: jax.Array
    m: Tree
    v: Tree


def scale_by_fairseq_adam(b1: float, b2: float, eps: float) -> optax.GradientTransformation:
    """Adam whose eps is added to the square root of the *uncorrected* second moment.

    Relative to optax.scale_by_adam the effective eps is larger by 1/sqrt(1 - b2^t) early in
    training (REFERENCE §4.1, T24).
    """

    def init(params: Tree) -> AdamState:
        zeros = lambda: jax.tree.map(jnp.zeros_like, params)
        return AdamState(jnp.zeros((), jnp.int32), zeros(), zeros())

    def update(grads: Tree, state: AdamState, params: Tree = None) -> tuple[Tree, AdamState]:
        del params
        count = state.count + 1
        m = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.m, grads)
        v = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g * g, state.v, grads)
        time = count.astype(jnp.float32)
        correction = jnp.sqrt(1 - b2**time) / (1 - b1**time)
        updates = jax.tree.map(lambda m, v: correction * m / (jnp.sqrt(v) + eps), m, v)
        return updates, AdamState(count, m, v)

    return optax.GradientTransformation(init, update)


ADAM = {"fairseq": scale_by_fairseq_adam, "torch": optax.scale_by_adam}


def learning_rate(config: Config, factor: float = 1.0) -> schedules.Schedule:
    """The rate of update n, counted from 0, of parameters that learn `factor` times as fast."""
    opt = config.optimizer
    end = opt.end_share / factor if opt.same_end else opt.end_share
    return schedules.warmup_hold_decay(
        opt.learning_rate * factor,
        warmup_steps=opt.warmup_steps,
        hold_steps=opt.hold_steps,
        steps=config.train.steps,
        shape=opt.schedule,
        start=opt.start_share,
        end=end,
    )


def make_optimizer(config: Config) -> optax.GradientTransformationExtraArgs:
    """Clip by the gradients' `norm`, Adam, decay, times minus each group's learning rate."""
    opt: OptimizerConfig = config.optimizer
    return optax.chain(
        clip_by_norm(opt.clip) if opt.clip else optax.identity(),
        ADAM[opt.adam](opt.b1, opt.b2, opt.eps),
        optax.add_decayed_weights(opt.weight_decay, lambda p: groups.decay_mask(opt, p)),
        scale_by_rates(config),
    )


def clip_by_norm(limit: float) -> optax.GradientTransformationExtraArgs:
    """Times limit / norm where that is below 1; `norm` is handed over: the step knows it already.

    One factor for all, as fairseq has it: of what `optax.clip_by_global_norm` divides by the norm
    XLA:CPU keeps another copy.
    """

    def update(updates: Tree, state: optax.EmptyState, params: Tree = None, *, norm: jax.Array):
        del params
        factor = limit / jnp.maximum(norm, limit)
        return jax.tree.map(lambda u: factor * u, updates), state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)


def scale_by_rates(config: Config) -> optax.GradientTransformation:
    """Times minus the learning rate of each parameter's group."""
    opt = config.optimizer

    def init(params: Tree) -> optax.ScaleByScheduleState:
        del params
        return optax.ScaleByScheduleState(jnp.zeros((), jnp.int32))

    def update(updates: Tree, state: optax.ScaleByScheduleState, params: Tree = None):
        del params
        found = groups.groups(opt, updates)
        factors = {one.rate for one in found.values()}
        rates = {factor: learning_rate(config, factor)(state.count) for factor in factors}
        scaled = trees.map_with_path(lambda path, u: -rates[found[path].rate] * u, updates)
        return scaled, optax.ScaleByScheduleState(optax.safe_increment(state.count))

    return optax.GradientTransformation(init, update)
