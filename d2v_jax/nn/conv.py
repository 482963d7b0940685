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
    if jax.default_backend() != "cpu":
        return _same(x, kernel, groups)
    each = zip(jnp.split(x, groups, -1), jnp.split(kernel, groups, -1))
    return jnp.concatenate([_ungrouped(*one) for one in each], -1)


def _same(x: jax.Array, kernel: jax.Array, groups: int = 1) -> jax.Array:
    padding = [(size // 2, (size - 1) // 2) for size in kernel.shape[:-2]]
    return _convolve(x, kernel, padding, groups)


def _convolve(
    x: jax.Array, kernel: jax.Array, padding: list[tuple[int, int]], groups: int = 1
) -> jax.Array:
    space = "xyz"[: len(padding)]
    return jax.lax.conv_general_dilated(
        x, kernel, (1,) * len(padding), padding,
        dimension_numbers=(f"N{space}C", f"{space}IO", f"N{space}C"), feature_group_count=groups,
    )  # fmt: skip


@jax.custom_vjp
def _ungrouped(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """`_same`, whose gradients are convolutions of the same form.

    JAX's own are not, and inside of loops (`train.micro_batches`) XLA:CPU knows no other: 300
    times slower there.
    """
    return _same(x, kernel)


def _forwards(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _same(x, kernel), (x, kernel)


def _backwards(kept: tuple[jax.Array, jax.Array], dy: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = kept
    window = kernel.shape[:-2]
    behind, ahead = [size // 2 for size in window], [(size - 1) // 2 for size in window]
    flipped = jnp.swapaxes(jnp.flip(kernel, range(len(window))), -1, -2)
    dx = _convolve(dy, flipped, list(zip(ahead, behind)))
    # Channels take the place of examples, examples that of channels, and dy is the window.
    dkernel = _convolve(jnp.swapaxes(x, 0, -1), jnp.moveaxis(dy, 0, -2), list(zip(behind, ahead)))
    return dx, jnp.moveaxis(dkernel, 0, -2)


_ungrouped.defvjp(_forwards, _backwards)


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
