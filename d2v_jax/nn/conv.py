"""Convolutions: grouped ones that keep the places, strided ones along time."""

import dataclasses
import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from d2v_jax.nn import initializers, products
from d2v_jax.nn.activation import gelu
from d2v_jax.nn.bias import add_bias
from d2v_jax.nn.norm import standardize

Padding = list[tuple[int, int]]  # zeros before and behind, of each spatial axis


def grouped_conv(x: jax.Array, kernel: jax.Array, groups: int) -> jax.Array:
    """x [n, *space, in], kernel [*window, in / groups, out] -> [n, *space, out].

    An even window reaches one place further back than ahead.
    """
    return products.multiply(GroupedConv(kernel.shape[:-2], groups), x, kernel)


@dataclasses.dataclass(frozen=True)
class GroupedConv(products.Product):
    """XLA:CPU runs a grouped convolution element by element but one per group near the speed of
    its matmuls. Inside of loops (`train.micro_batches`) it knows only such as have their axes in
    the order of `_convolve`: so that is the form of the gradients too, 300 times faster there.
    """

    window: tuple[int, ...]
    groups: int

    def y(self, x: jax.Array, k: jax.Array) -> jax.Array:
        return self._convolve(x, k, list(zip(self._behind, self._ahead)), self.groups)

    def on_cpu(self, missing: int, shapes: products.Shapes) -> products.Form:
        one_group = (self._one_dx, self._one_dk, self._one_y)[missing]

        def form(one: jax.Array, other: jax.Array) -> jax.Array:
            each = zip(jnp.split(one, self.groups, -1), jnp.split(other, self.groups, -1))
            return jnp.concatenate([one_group(*pair) for pair in each], -1)

        return form

    def _one_y(self, x: jax.Array, k: jax.Array) -> jax.Array:
        return self._convolve(x, k, list(zip(self._behind, self._ahead)))

    def _one_dx(self, k: jax.Array, dy: jax.Array) -> jax.Array:
        flipped = jnp.swapaxes(jnp.flip(k, range(len(self.window))), -1, -2)
        return self._convolve(dy, flipped, list(zip(self._ahead, self._behind)))

    def _one_dk(self, x: jax.Array, dy: jax.Array) -> jax.Array:
        # Channels take the place of examples, examples that of channels, and dy is the window.
        dk = self._convolve(
            jnp.swapaxes(x, 0, -1), jnp.moveaxis(dy, 0, -2), list(zip(self._behind, self._ahead))
        )
        return jnp.moveaxis(dk, 0, -2)

    @property
    def _behind(self) -> list[int]:
        return [size // 2 for size in self.window]

    @property
    def _ahead(self) -> list[int]:
        return [(size - 1) // 2 for size in self.window]

    def _convolve(
        self, x: jax.Array, kernel: jax.Array, padding: Padding, groups: int = 1
    ) -> jax.Array:
        space = "xyz"[: len(padding)]
        return jax.lax.conv_general_dilated(
            x,
            kernel,
            (1,) * len(padding),
            padding,
            dimension_numbers=(f"N{space}C", f"{space}IO", f"N{space}C"),
            feature_group_count=groups,
            precision=self.precision,
        )


def strided_conv(x_btc: jax.Array, kernel: jax.Array, stride: int, ends: int = 0) -> jax.Array:
    """x_btc, kernel [window, in, out] -> [b, t', out], with zeros before and behind."""
    x_btc = jnp.pad(x_btc, ((0, 0), (ends, ends), (0, 0))) if ends else x_btc
    return products.multiply(StridedConv(stride), x_btc, kernel)


@dataclasses.dataclass(frozen=True)
class StridedConv(products.Product):
    """XLA:CPU runs a strided convolution at two thirds of the speed of its matmuls, and is told
    to multiply windows instead. These are laid out anew for each gradient, not kept."""

    stride: int

    def y(self, x: jax.Array, k: jax.Array) -> jax.Array:
        return jax.lax.conv_general_dilated(
            x,
            k,
            (self.stride,),
            "VALID",
            dimension_numbers=("NWC", "WIO", "NWC"),
            precision=self.precision,
        )

    def on_cpu(self, missing: int, shapes: products.Shapes) -> products.Form:
        return products.transposed(self._of_windows, missing, shapes)

    def _of_windows(self, x: jax.Array, k: jax.Array) -> jax.Array:
        (b, t, c), (window, _, out) = x.shape, k.shape
        places = (t - window) // self.stride + 1
        # A window is a few whole strides and the beginning of one more.
        strides = -(-window // self.stride)
        used = (places + strides - 1) * self.stride
        x = jnp.pad(x, ((0, 0), (0, max(used - t, 0)), (0, 0)))[:, :used]
        rows = x.reshape(b, -1, self.stride * c)
        whole = [rows[:, i : i + places] for i in range(strides)]
        windows = jnp.concatenate(whole, -1)[:, :, : window * c]
        y = jnp.matmul(
            windows.reshape(-1, window * c), k.reshape(-1, out), precision=self.precision
        )
        return y.reshape(b, places, out)


class ConvLayer(nn.Module):
    """Grouped convolution with bias, layer norm without affine, exact gelu (REFERENCE §1.9)."""

    width: int
    window: tuple[int, ...]
    groups: int
    dtype: str

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        fan_in = x.shape[-1] // self.groups * math.prod(self.window)
        init = initializers.torch_default(fan_in)
        shape = (*self.window, x.shape[-1] // self.groups, self.width)
        kernel = self.param("kernel", init, shape).astype(self.dtype)
        bias = self.param("bias", init, (self.width,)).astype(self.dtype)
        x = add_bias(grouped_conv(x.astype(self.dtype), kernel, self.groups), bias)
        return gelu(standardize(x, -1, dtype=self.dtype))
