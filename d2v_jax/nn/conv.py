"""Same-padded grouped convolution over one or two spatial axes."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange

from d2v_jax.nn import initializers
from d2v_jax.nn.norm import standardize


def grouped_conv(x: jax.Array, kernel: jax.Array, groups: int) -> jax.Array:
    """x [n, *space, in], kernel [*window, in / groups, out] -> [n, *space, out].

    An even window reaches one place further back than ahead. XLA:CPU runs grouped convolutions
    far below the speed of its matmuls, so there the window is unrolled into one matmul per
    group; elsewhere the compiler's own convolution is used.
    """
    window = kernel.shape[:-2]
    padding = [(size // 2, (size - 1) // 2) for size in window]
    if jax.default_backend() != "cpu":
        space = "xyz"[: len(window)]
        spec = (f"N{space}C", f"{space}IO", f"N{space}C")
        strides = (1,) * len(window)
        return jax.lax.conv_general_dilated(
            x, kernel, strides, padding, dimension_numbers=spec, feature_group_count=groups
        )
    columns = jnp.pad(x, [(0, 0), *padding, (0, 0)])
    for axis, size in enumerate(window):
        # Space axis i becomes two: places, and the window at each.
        places = np.arange(x.shape[1 + axis])[:, None] + np.arange(size)
        columns = jnp.take(columns, places, axis=1 + 2 * axis)
    axes = "abc"[: len(window)]
    places = " ".join(axes)
    taps = " ".join(f"w{axis}" for axis in axes)
    pairs = " ".join(f"{axis} w{axis}" for axis in axes)
    columns = rearrange(columns, f"n {pairs} (g i) -> g (n {places}) ({taps} i)", g=groups)
    weights = rearrange(kernel, f"{taps} i (g o) -> g ({taps} i) o", g=groups)
    out = jnp.einsum("gpi,gio->pgo", columns, weights)
    return out.reshape(*x.shape[:-1], -1)


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
        return jax.nn.gelu(standardize(x, -1).astype(self.dtype), approximate=False)
