"""Adam with fairseq's eps, decay groups, clipping; compared with a plain NumPy account."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import systems

from d2v_jax.common import trees
from d2v_jax.train import groups, optimizer, state
from d2v_jax.train.recipe import resolve


def test_update_equals_the_formula():
    resolved = resolve.resolve(resolve.load("v2_image_base"))
    opt = dataclasses.replace(resolved.optimizer, warmup_steps=2, eps=1e-3, clip=1.0)
    resolved = dataclasses.replace(resolved, optimizer=opt)
    transform = optimizer.make_optimizer(resolved)
    params = {"a": {"kernel": jnp.array([1.0, -2.0])}, "b": {"bias": jnp.array([0.5])}}
    state = transform.init(params)
    flat = np.array([1.0, -2.0, 0.5])
    m = v = np.zeros(3)
    rng = np.random.default_rng(0)
    for n in range(5):
        g = rng.normal(size=3) * 2
        grads = {"a": {"kernel": jnp.array(g[:2])}, "b": {"bias": jnp.array(g[2:])}}
        norm = optax.global_norm(grads)
        updates, state = jax.jit(transform.update)(grads, state, params, norm=norm)
        params = optax.apply_updates(params, updates)
        g = g * min(1, opt.clip / np.linalg.norm(g))
        m, v = opt.b1 * m + (1 - opt.b1) * g, opt.b2 * v + (1 - opt.b2) * g * g
        rate = float(optimizer.learning_rate(resolved)(n))
        correction = np.sqrt(1 - opt.b2 ** (n + 1)) / (1 - opt.b1 ** (n + 1))
        flat = (
            flat - rate * opt.weight_decay * flat - rate * correction * m / (np.sqrt(v) + opt.eps)
        )
    ours = np.concatenate([params["a"]["kernel"], params["b"]["bias"]])
    np.testing.assert_allclose(ours, flat, rtol=1e-5)
    assert np.abs(flat - [1.0, -2.0, 0.5]).max() > 1e-3


def test_torch_adds_eps_to_the_corrected_moment():
    params = {"kernel": jnp.array([0.0])}
    first = {}
    for name, build in optimizer.ADAM.items():
        transform = build(0.9, 0.98, 1e-2)
        grads = {"kernel": jnp.array([0.01])}
        first[name] = float(transform.update(grads, transform.init(params))[0]["kernel"][0])
    # m / (sqrt(v) + eps) of one gradient g: g / (g + eps), or eps / sqrt(1 - b2) of it.
    np.testing.assert_allclose(first["torch"], 0.01 / (0.01 + 1e-2), rtol=1e-4)
    np.testing.assert_allclose(first["fairseq"], 0.01 / (0.01 + 1e-2 / 0.02**0.5), rtol=1e-4)


def test_decay_groups():
    decayed, spared = set(), set()
    for name in systems.NAMES:
        small = systems.smoke(name)
        shapes = jax.eval_shape(lambda small=small: state.create(small)).params
        mask = lambda which, of=small.optimizer, shapes=shapes: groups.decay_mask(
            dataclasses.replace(of, decays=which), shapes
        )
        everything = dict(trees.leaves(mask("all")))
        assert all(everything.values())
        for path, on in trees.leaves(mask("matrices")):
            (decayed if on else spared).add(path.split("/")[-1])
    assert decayed == {"kernel", "embedding", "table"}
    assert spared == {
        "bias",
        "scale",
        "q_bias",
        "v_bias",
        "gamma1",
        "gamma2",
        "alibi_scale",
        "tokens",
    }
