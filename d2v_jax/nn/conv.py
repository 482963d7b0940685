"""Same-padded grouped convolution over one or two spatial axes."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from d2v_jax.nn import initializers
from d2v_jax.nn.activation import gelu
from d2v_jax.nn.norm import standardize


def grouped_conv(x: jax.Array, kernel: jax.Array, groups: int) -> jax.Array:
    """x [n, *space, in], kernel [*window, in / groups, out] -> [n, *space, out].

    An even window reaches one place further back than ahead. XLA:CPU runs a grouped convolution
    element by element but one per group near the speed of its matmuls.
    """
    window = kernel.shape[:-2]
    space = "xyz"[: len(window)]

    def convolve(x: jax.Array, kernel: jax.Array, groups: int) -> jax.Array:
        return jax.lax.conv_general_dilated(
            x, kernel, (1,) * len(window), [(size // 2, (size - 1) // 2) for size in window],
            dimension_numbers=(f"N{space}C", f"{space}IO", f"N{space}C"),
            feature_group_count=groups,
        )  # fmt: skip

    if jax.default_backend() != "cpu":
        return convolve(x, kernel, groups)
    each = zip(jnp.split(x, groups, -1), jnp.split(kernel, groups, -1))
    return jnp.concatenate([convolve(*one, 1) for one in each], -1)


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
        x = grouped_conv(x.astype(self.dtype), kernel, self.groups) + bias
        return gelu(standardize(x, -1).astype(self.dtype))
