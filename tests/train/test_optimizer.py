"""Adam with fairseq's eps, decay groups, clipping; compared with a plain NumPy account."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax

from d2v_jax.common import trees
from d2v_jax.data2vec.model import Model
from d2v_jax.train import config, optimizer


def test_update_equals_the_formula():
    resolved = config.resolve(config.load("v2_image_base"))
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
        updates, state = jax.jit(transform.update)(grads, state, params)
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


def test_decay_groups(tiny):
    shapes = jax.eval_shape(Model(tiny.model).init, jax.random.key(0))
    everything = dict(trees.leaves(optimizer.decay_mask(shapes, "all")))
    matrices = dict(trees.leaves(optimizer.decay_mask(shapes, "matrices")))
    assert all(everything.values())
    assert {p.split("/")[-1] for p, on in matrices.items() if on} == {"kernel"}
    assert {p.split("/")[-1] for p, on in matrices.items() if not on} == {"bias", "scale", "tokens"}
