"""For what device a program is compiled, and how an array lies in its memory."""

import math

import jax
from jax.experimental.layout import Layout, with_layout_constraint

LANES = 128  # of a TPU's registers


def platform() -> str:
    """ "tpu" or "gpu" where this is compiled for a mesh of such, "cpu" else."""
    device = jax.sharding.get_abstract_mesh().abstract_device
    return "cpu" if device is None else device.platform


def local(rows: int) -> int:
    """How many of so many rows each device has."""
    return rows // math.gcd(jax.sharding.get_abstract_mesh().size or 1, rows)


def rows_in_lanes(x: jax.Array) -> jax.Array:
    """x [n, ...] as it is; on TPUs its rows lie side by side where they fill whole registers.

    That is how XLA:TPU convolves such in groups. Told at both ends of a chain of residual
    convolutions, it keeps to it; else it takes the layout of what comes before and behind, and
    copies the output of every layer to there.
    """
    if platform() != "tpu" or local(x.shape[0]) % LANES:
        return x
    return with_layout_constraint(x, Layout((*range(1, x.ndim), 0)))
