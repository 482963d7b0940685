"""Schedules at both sides of every boundary (REFERENCE §4.3, §17)."""

import jax
import numpy as np
import pytest

from d2v_jax.common import schedules
from d2v_jax.common.checks import ConfigError


def value(step, peak, warmup, hold, steps, shape, start=0.0, end=0.0):
    schedule = schedules.warmup_hold_decay(
        peak, warmup_steps=warmup, hold_steps=hold, steps=steps, shape=shape, start=start, end=end
    )
    return float(jax.jit(schedule)(step))


@pytest.mark.parametrize(
    ("step", "rate"),
    [
        (0, 0),
        (4_000, 3.75e-4),
        (7_999, 7.5e-4 * 7_999 / 8_000),
        (8_000, 7.5e-4),
        (8_001, 7.5e-4),
        (204_000, 3.75e-4),
        (400_000, 0),
        (500_000, 0),
    ],
)
def test_cosine(step, rate):
    ours = value(step, 7.5e-4, 8_000, 0, 400_000, "cosine")
    np.testing.assert_allclose(ours, rate, rtol=1e-5, atol=1e-10)


@pytest.mark.parametrize(
    ("step", "rate"),
    [
        (0, 5e-6),
        (6_000, 2.525e-4),
        (12_000, 5e-4),
        (371_999, 5e-4),
        (386_000, 5e-5),
        (399_999, 5.0008e-6),
        (450_000, 5e-6),
    ],
)
def test_tri_stage(step, rate):
    ours = value(step, 5e-4, 12_000, 360_000, 400_000, "exponential", 0.01, 0.01)
    np.testing.assert_allclose(ours, rate, rtol=1e-4)


def test_cosine_of_v1_vision_is_the_originals_table():
    """Warm-up inclusive of the peak at its last entry, then a cosine that starts at the peak."""
    warmup, steps, peak, least = 10, 50, 2e-3, 1e-5
    i = np.arange(steps - warmup)
    table = np.concatenate(
        [
            np.linspace(0, peak, warmup),
            least + 0.5 * (peak - least) * (1 + np.cos(np.pi * i / (steps - warmup))),
        ]
    )
    ours = [value(n, peak, warmup - 1, 1, steps, "cosine", 0.0, least / peak) for n in range(steps)]
    np.testing.assert_allclose(ours, table, rtol=1e-5, atol=1e-9)


def test_linear():
    ours = [value(n, 2.0, 4, 0, 14, "linear") for n in (0, 2, 4, 9, 14, 20)]
    np.testing.assert_allclose(ours, [0, 1, 2, 1, 0, 0], atol=1e-6)


def test_unknown_shape():
    with pytest.raises(ConfigError, match="schedule='cosinus' is not one of cosine"):
        value(0, 1.0, 0, 0, 10, "cosinus")


@pytest.mark.parametrize(
    ("step", "decay"), [(0, 0.999), (37_500, 0.999495), (75_000, 0.99999), (90_000, 0.99999)]
)
def test_linear_ramp(step, decay):
    ours = jax.jit(schedules.linear_ramp(0.999, 0.99999, 75_000))(step)
    np.testing.assert_allclose(ours, decay, rtol=1e-6)
