"""The whole model, from inputs to predictions, differentiated in every way that JAX has."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from systems import batch, small

from d2v_jax.common import rng
from d2v_jax.data2vec.model import Model


def plane(name):
    """A number that follows from all predictions, over a plane through the parameters.

    Its two directions reach into every parameter.
    """
    config = small(name, noise=True)
    model = Model(config.objective.cfg)
    inputs = model.prepare(batch(config, 2))
    random = rng.keys(rng.stream(0, "test"), jnp.arange(2))
    tokens = model.token_count(inputs.values.shape[1:])
    views = config.objective.cfg.mask.views
    mask = model.draw_mask(random.named("mask").views(views), tokens, model.padding(inputs))
    shown = model.hide_inputs(inputs, mask)
    start, tree = jax.tree.flatten(model.init(jax.random.key(0), config.data.example_shape))

    def step(leaf, key):
        """As long as the parameter itself, so that none is lost in rounding."""
        direction = jax.random.normal(key, (2, *leaf.shape))
        return direction * jnp.linalg.norm(leaf) / jnp.sqrt(leaf.size)

    keys = jax.random.split(jax.random.key(1), len(start))
    steps = [step(leaf, key) for leaf, key in zip(start, keys)]

    @jax.checkpoint
    def f(place):
        moved = [x + jnp.tensordot(place, dx, 1) for x, dx in zip(start, steps)]
        params = tree.unflatten(moved)
        given = model.tokens(params, shown, random.named("tokens"))
        predictions = model.predict(params, given, mask, random.named("encoder").views(views))
        return jnp.square(predictions.hidden_nud).mean()

    return f


AXES, HERE, SIZE = jnp.eye(2), jnp.zeros(2), 3e-3


def slopes_of(values):
    """By central differences along both axes, of what `values(place)` says."""
    return [(values(SIZE * axis) - values(-SIZE * axis)) / (2 * SIZE) for axis in AXES]


def close(derivatives, expected):
    most = np.abs(expected).max()
    np.testing.assert_allclose(derivatives, expected, rtol=0.03, atol=0.01 * most)


@pytest.mark.parametrize("name", ["v2_audio_base", "v2_image_base"])
def test_slopes_forwards_and_backwards(name):
    f = jax.jit(plane(name))
    close(jax.grad(f)(HERE), slopes_of(f))
    forwards = jax.vmap(lambda axis: jax.jvp(f, (HERE,), (axis,))[1])(AXES)
    np.testing.assert_allclose(forwards, jax.grad(f)(HERE), rtol=1e-3, atol=1e-6)


def test_hessian():
    f = jax.jit(plane("v1_image_base"))
    close(jax.hessian(f)(HERE), slopes_of(jax.grad(f)))
