"""Building blocks against numbers worked out elsewhere."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from d2v_jax.nn import conv, norm, positions


def test_sincos_spot_values():
    """REFERENCE §17: D=16, grid 4, the token in row 0, column 1."""
    code = positions.sincos_2d(4, 16)[1]
    first = [0.8415, 0.0998, 0.0100, 0.0010, 0.5403, 0.9950, 1.0, 1.0]
    np.testing.assert_allclose(code[:8], first, atol=1e-4)
    np.testing.assert_allclose(code[8:], [0, 0, 0, 0, 1, 1, 1, 1], atol=1e-6)


@pytest.mark.parametrize(("window", "groups"), [((3, 3), 4), ((5, 5), 1), ((7,), 2), ((9,), 8)])
def test_grouped_conv_equals_the_compilers(window, groups):
    space = (6, 7)[: len(window)]
    x = jax.random.normal(jax.random.key(0), (2, *space, 8))
    kernel = jax.random.normal(jax.random.key(1), (*window, 8 // groups, 16))
    letters = "xy"[: len(window)]
    reference = jax.lax.conv_general_dilated(
        x, kernel, (1,) * len(window), "SAME", feature_group_count=groups,
        dimension_numbers=(f"N{letters}C", f"{letters}IO", f"N{letters}C"),
    )  # fmt: skip
    np.testing.assert_allclose(
        jax.jit(conv.grouped_conv, static_argnums=2)(x, kernel, groups), reference,
        rtol=1e-4, atol=1e-4,
    )  # fmt: skip


def test_standardize_is_accurate_far_from_zero():
    x = 1000 + jax.random.normal(jax.random.key(0), (4, 64))
    exact = np.asarray(x, np.float64)
    exact = (exact - exact.mean(-1, keepdims=True)) / np.sqrt(exact.var(-1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(norm.standardize(x, -1), exact, atol=2e-3)
    assert norm.standardize(x.astype(jnp.bfloat16), -1).dtype == jnp.float32
