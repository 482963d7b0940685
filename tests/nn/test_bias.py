"""A bias and its gradient: the same derivatives everywhere, a product on CPUs."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from d2v_jax.nn.bias import add_bias
from d2v_jax.nn.dense import Dense

SHAPES = [(7,), (3, 7), (2, 5, 7), (2, 3, 2, 7)]


def given(shape, dtype=jnp.float32):
    x, bias = (
        jax.random.normal(jax.random.key(n), each, dtype) for n, each in enumerate((shape, (7,)))
    )
    return x, bias


@pytest.mark.parametrize("shape", SHAPES)
def test_derivatives_of_two_orders_in_both_modes(shape):
    with jax.enable_x64(True):
        x, bias = given(shape, jnp.float64)
        f = lambda x, bias: jnp.sin(add_bias(x, bias) * x)
        check_grads(jax.jit(f), (x, bias), 2, ("fwd", "rev"), rtol=1e-5, atol=1e-6, eps=1e-4)
        check_grads(
            jax.vmap(jax.vmap(f, (None, 0)), (None, 1)),
            (x, jnp.broadcast_to(bias, (2, 3, 7)) * jnp.arange(1.0, 7).reshape(2, 3, 1)),
            2,
            ("fwd", "rev"),
            rtol=1e-5,
            atol=1e-6,
            eps=1e-4,
        )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_gradient_is_the_sum_of_rows(dtype):
    dy, bias = given((50, 9, 7), dtype)
    found = jax.jit(lambda dy, bias: jax.vjp(lambda b: add_bias(dy, b), bias)[1](dy)[0])(dy, bias)
    expected = np.asarray(dy, np.float64).sum((0, 1))
    assert found.dtype == dtype
    rtol = {"float32": 1e-6, "bfloat16": 1e-2}[dtype]
    np.testing.assert_allclose(found, expected, rtol=0, atol=rtol * np.abs(expected).max())


def test_only_cpus_multiply():
    x, bias = given((4, 5, 7))
    f = lambda bias: (add_bias(x, bias) ** 2).sum()
    text = lambda platform: (
        jax.jit(jax.grad(f)).trace(bias).lower(lowering_platforms=(platform,)).as_text()
    )
    assert "dot_general" in text("cpu")
    for platform in ("tpu", "cuda"):
        assert "dot_general" not in text(platform) and "stablehlo.reduce" in text(platform)


@pytest.mark.parametrize("use_bias", [True, False])
def test_a_dense_layer_is_that_of_flax(use_bias):
    """Also what it begins with, and the types it computes in."""
    x, _ = given((2, 5, 7))
    ours, theirs = (
        kind(3, use_bias=use_bias, dtype="bfloat16", bias_init=nn.initializers.normal(1.0))
        for kind in (Dense, nn.Dense)
    )
    params = ours.init(jax.random.key(1), x)
    for one, other in zip(
        jax.tree.leaves(params), jax.tree.leaves(theirs.init(jax.random.key(1), x)), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    y, expected = ours.apply(params, x), theirs.apply(params, x)
    assert y.dtype == expected.dtype == jnp.bfloat16
    np.testing.assert_allclose(*(np.asarray(each, np.float32) for each in (y, expected)), rtol=1e-2)
