"""A linear layer over the last axis."""

import dataclasses
import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from d2v_jax.nn import products
from d2v_jax.nn.bias import add_bias
from d2v_jax.nn.layout import platform


@dataclasses.dataclass(frozen=True)
class Linear(products.Product):
    """[n, ..., d], [d, f] -> [n, ..., f].

    XLA:CPU is shown a plain matrix, whose gradient it takes without a copy. Other backends know
    [n, t, d], and would have to move what does not fill their tiles.
    """

    def y(self, x: jax.Array, k: jax.Array) -> jax.Array:
        last = (((x.ndim - 1,), (0,)), ((), ()))
        return jax.lax.dot_general(x, k, last, precision=self.precision)

    def on_cpu(self, missing: int, shapes: products.Shapes) -> products.Form:
        return products.transposed(self._of_rows, missing, shapes)

    def _of_rows(self, x: jax.Array, k: jax.Array) -> jax.Array:
        y = self.y(x.reshape(-1, x.shape[-1]), k)
        return y.reshape(*x.shape[:-1], k.shape[-1])


def linear(x: jax.Array, kernel: jax.Array, precision: Any = None) -> jax.Array:
    """x [..., d] times kernel [d, f]."""
    product = Linear() if precision is None else Linear(precision=precision)
    if x.ndim == 1:
        return products.multiply(product, x[None], kernel)[0]
    return products.multiply(product, x, kernel)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def columns(x: jax.Array, kernel: jax.Array, precision: Any, parts: int) -> list[jax.Array]:
    """`linear` in so many equal parts of the last axis, each a product of its own.

    TPUs make each where it is needed, while what is cut from one array has to be moved. The
    kernel's gradient stays one product: of several, each would be a message between devices.
    """
    return [linear(x, one, precision) for one in jnp.split(kernel, parts, -1)]


@columns.defjvp
def _columns_jvp(precision, parts, primals, tangents):
    (x, kernel), (dx, d_kernel) = primals, tangents
    by_kernel = jnp.split(linear(x, d_kernel, precision), parts, -1)
    moved = [a + b for a, b in zip(columns(dx, kernel, precision, parts), by_kernel)]
    return columns(x, kernel, precision, parts), moved


class Dense(nn.Dense):
    """`nn.Dense` whose product and bias have the form that the platform's compiler likes."""

    def __call__(self, x: jax.Array) -> jax.Array:
        (y,) = self.columns(x, 1)
        return y

    @nn.compact
    def columns(self, x: jax.Array, parts: int) -> list[jax.Array]:
        """The output [..., features] in so many equal parts of its last axis."""
        shape = (x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape, self.param_dtype)
        bias = None
        if self.use_bias:
            bias = self.param("bias", self.bias_init, shape[1:], self.param_dtype)
        x, kernel, bias = self.promote_dtype(x, kernel, bias, dtype=self.dtype)
        if parts == 1 or platform() != "tpu":
            y = linear(x, kernel, self.precision)
            return jnp.split(y if bias is None else add_bias(y, bias), parts, -1)
        ys = columns(x, kernel, self.precision, parts)
        if bias is None:
            return ys
        # To rows first and then to the rest, so that the gradient is one message, too.
        rows = x.shape[0], *[1] * (x.ndim - 2)
        biases = jnp.split(jnp.broadcast_to(bias, (*rows, bias.size)), parts, -1)
        return [y + one for y, one in zip(ys, biases)]
