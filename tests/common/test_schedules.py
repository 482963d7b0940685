"""Schedules at both sides of every boundary (REFERENCE §17)."""

import jax
import numpy as np
import pytest

from d2v_jax.common import schedules


@pytest.mark.parametrize(
    ("step", "rate"),
    [(0, 0), (4_000, 3.75e-4), (7_999, 7.5e-4 * 7_999 / 8_000), (8_000, 7.5e-4), (8_001, 7.5e-4),
     (204_000, 3.75e-4), (400_000, 0), (500_000, 0)],
)  # fmt: skip
def test_warmup_cosine(step, rate):
    value = jax.jit(schedules.warmup_cosine(7.5e-4, 8_000, 400_000))(step)
    np.testing.assert_allclose(value, rate, rtol=1e-5, atol=1e-10)


@pytest.mark.parametrize(
    ("step", "decay"), [(0, 0.999), (37_500, 0.999495), (75_000, 0.99999), (90_000, 0.99999)]
)
def test_linear_ramp(step, decay):
    value = jax.jit(schedules.linear_ramp(0.999, 0.99999, 75_000))(step)
    np.testing.assert_allclose(value, decay, rtol=1e-6)
