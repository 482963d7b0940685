"""Numbers that change with the step; each works on Python ints and under jit."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

Schedule = Callable[[jax.Array | int], jax.Array]


def warmup_cosine(peak: float, warmup_steps: int, steps: int) -> Schedule:
    """Linear from 0 to `peak` over `warmup_steps`, then half a cosine to 0 at `steps`.

    The value is the one used by update n, counted from 0: the first update has rate 0
    (REFERENCE §4.3, T24).
    """

    def value(step: jax.Array | int) -> jax.Array:
        step = jnp.asarray(step, jnp.float32)
        warmup = peak * step / max(warmup_steps, 1)
        progress = (step - warmup_steps) / max(steps - warmup_steps, 1)
        decay = 0.5 * peak * (1 + jnp.cos(jnp.pi * jnp.clip(progress, 0, 1)))
        return jnp.where(step < warmup_steps, warmup, decay)

    return value


def linear_ramp(start: float, end: float, steps: int) -> Schedule:
    """Linear from `start` at 0 to `end` at `steps`, then constant (REFERENCE §2.1)."""

    def value(step: jax.Array | int) -> jax.Array:
        share = jnp.clip(jnp.asarray(step, jnp.float32) / max(steps, 1), 0, 1)
        return start + (end - start) * share

    return value
