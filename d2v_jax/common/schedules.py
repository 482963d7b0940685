"""Numbers that change with the step; each works on Python ints and under jit."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from d2v_jax.common.checks import require

Schedule = Callable[[jax.Array | int], jax.Array]
SHAPES = ("cosine", "exponential", "linear")


def warmup_hold_decay(
    peak: float,
    *,
    warmup_steps: int,
    hold_steps: int,
    steps: int,
    shape: str,
    start: float,
    end: float,
) -> Schedule:
    """Linear from `start` to `peak`, `peak` for a while, then down to `end` at `steps`.

    `start` and `end` are shares of the peak; the way down is "cosine" (half a period),
    "exponential" (tri-stage) or "linear". The value is the one used by update n, counted from
    0 (REFERENCE §4.3, T24, T25).
    """
    require(shape in SHAPES, f"schedule={shape!r} is not one of {', '.join(SHAPES)}")
    down = max(steps - warmup_steps - hold_steps, 1)

    def value(step: jax.Array | int) -> jax.Array:
        step = jnp.asarray(step, jnp.float32)
        rise = start + (1 - start) * step / max(warmup_steps, 1)
        progress = jnp.clip((step - warmup_steps - hold_steps) / down, 0, 1)
        match shape:
            case "cosine":
                fall = end + (1 - end) * 0.5 * (1 + jnp.cos(jnp.pi * progress))
            case "exponential":
                fall = jnp.exp(jnp.log(end) * progress)
            case _:
                fall = 1 - (1 - end) * progress
        return peak * jnp.where(step < warmup_steps, rise, fall)

    return value


def linear_ramp(start: float, end: float, steps: int) -> Schedule:
    """Linear from `start` at 0 to `end` at `steps`, then constant (REFERENCE §2.1)."""

    def value(step: jax.Array | int) -> jax.Array:
        share = jnp.clip(jnp.asarray(step, jnp.float32) / max(steps, 1), 0, 1)
        return start + (end - start) * share

    return value
