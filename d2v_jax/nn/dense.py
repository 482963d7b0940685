"""A linear layer over the last axis."""

import dataclasses
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


def linear(x: jax.Array, kernel: jax.Array, axes: Any = None, precision: Any = None) -> jax.Array:
    """x [..., d] times kernel [d, f], in place of the `jax.lax.dot_general` of `nn.Dense`."""
    del axes  # always these
    product = Linear() if precision is None else Linear(precision=precision)
    if x.ndim == 1:
        return products.multiply(product, x[None], kernel)[0]
    return products.multiply(product, x, kernel)


class Dense(nn.Dense):
    """`nn.Dense` whose product and bias have the form that the platform's compiler likes."""

    dot_general: Any = linear

    def __call__(self, x: jax.Array) -> jax.Array:
        (y,) = self.columns(x, 1)
        return y

    @nn.compact
    def columns(self, x: jax.Array, parts: int) -> list[jax.Array]:
        """The output's columns in so many equal parts.

        TPUs make each by a product of its own, and where it is needed; cut from one array, they
        would be moved, and their gradients joined.
        """
        shape = (x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape, self.param_dtype)
        bias = None
        if self.use_bias:
            bias = self.param("bias", self.bias_init, shape[1:], self.param_dtype)
        if parts == 1 or platform() != "tpu":
            return jnp.split(self._of(x, kernel, bias), parts, -1)
        # The barrier keeps their gradients from being rounded to `dtype` before they are joined.
        kernels = jax.lax.optimization_barrier(jnp.split(kernel, parts, -1))
        biases = [None] * parts if bias is None else jnp.split(bias, parts)
        return [self._of(x, *each) for each in zip(kernels, biases)]

    def _of(self, x: jax.Array, kernel: jax.Array, bias: jax.Array | None) -> jax.Array:
        x, kernel, bias = self.promote_dtype(x, kernel, bias, dtype=self.dtype)
        y = self.dot_general(x, kernel, precision=self.precision)
        return y if bias is None else add_bias(y, bias)
