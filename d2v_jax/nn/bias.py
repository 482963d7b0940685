"""A bias: one vector added to every row."""

import math

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir


def add_bias(x: jax.Array, bias: jax.Array) -> jax.Array:
    """x [..., c] + bias [c].

    The bias's gradient, a sum of rows, XLA:CPU takes column by column by one thread, or makes part
    of what the rows come from; it is told to multiply by ones instead. Any derivative of it works.
    """
    return x + SPREAD.bind(bias, rows=x.shape[:-1])


# [*mapped, c] -> [*mapped, *rows, c], and the sum over those rows; each is the other's transpose.
SPREAD, SUM = Primitive("spread"), Primitive("sum_of_rows")


@SPREAD.def_abstract_eval
def _spread_shape(x, *, rows):
    return jax.core.ShapedArray((*x.shape[:-1], *rows, x.shape[-1]), x.dtype)


@SUM.def_abstract_eval
def _sum_shape(x, *, rows):
    return jax.core.ShapedArray((*x.shape[: -len(rows) - 1], x.shape[-1]), x.dtype)


def _spread(x: jax.Array, *, rows: tuple[int, ...]) -> jax.Array:
    shape = (*x.shape[:-1], *rows, x.shape[-1])
    return jax.lax.broadcast_in_dim(x, shape, (*range(x.ndim - 1), len(shape) - 1))


def _sum(x: jax.Array, *, rows: tuple[int, ...]) -> jax.Array:
    return jnp.sum(x, range(x.ndim - 1 - len(rows), x.ndim - 1))


def _sum_on_cpu(x: jax.Array, *, rows: tuple[int, ...]) -> jax.Array:
    mapped, count = x.shape[: -len(rows) - 1], math.prod(rows)
    ones = jnp.ones((*mapped, 1, count), x.dtype)
    sums = jnp.matmul(ones, x.reshape(*mapped, count, x.shape[-1]), precision="highest")
    return sums[..., 0, :]


for _one, _other, _form in ((SPREAD, SUM, _spread), (SUM, SPREAD, _sum)):
    _one.def_impl(jax.jit(_one.bind, static_argnames="rows"))
    ad.deflinear2(_one, lambda dy, _, rows, other=_other: [other.bind(dy, rows=rows)])
    batching.primitive_batchers[_one] = lambda args, axes, rows, one=_one: (
        one.bind(jnp.moveaxis(args[0], axes[0], 0), rows=rows),
        0,
    )
    mlir.register_lowering(_one, mlir.lower_fun(_form, multiple_results=False))
mlir.register_lowering(SUM, mlir.lower_fun(_sum_on_cpu, multiple_results=False), platform="cpu")
