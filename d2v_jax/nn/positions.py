"""Where a token is: codes added to tokens, or biases of attention."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from d2v_jax.nn.activation import gelu
from d2v_jax.nn.bias import add_bias
from d2v_jax.nn.conv import ConvLayer, grouped_conv


def sincos(shape: tuple[int, ...], width: int) -> np.ndarray:
    """Fixed codes [tokens, width] float32 of a row-major grid of this shape.

    Each side has an equal part of the channels, the last side the first; each part is sines then
    cosines of p / 10000^(i / n), for its n pairs (REFERENCE §1.6).
    """
    pairs = width // (2 * len(shape))
    frequencies = 10_000.0 ** -(np.arange(pairs) / pairs)
    codes = []
    for axis in reversed(range(len(shape))):
        angles = np.arange(shape[axis])[:, None] * frequencies
        code = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
        along = [-1 if one == axis else 1 for one in range(len(shape))]
        codes.append(np.broadcast_to(code.reshape(*along, 2 * pairs), (*shape, 2 * pairs)))
    return np.concatenate(codes, axis=-1).reshape(-1, width).astype(np.float32)


class ConvPositions(nn.Module):
    """x_ntd -> positions_ntd to be added to x: convolutions without residuals (REFERENCE §1.3).

    With `padding_nt`, padded tokens are zeroed before each layer: bias, norm and gelu would
    otherwise fill them again, and a sample would feel its padding (T16).
    """

    layers: int
    kernel: int
    groups: int
    dtype: str

    @nn.compact
    def __call__(self, x_ntd: jax.Array, padding_nt: jax.Array | None = None) -> jax.Array:
        for i in range(self.layers):
            if padding_nt is not None:
                x_ntd = jnp.where(padding_nt[:, :, None], 0, x_ntd)
            layer = ConvLayer(
                x_ntd.shape[-1], (self.kernel,), self.groups, self.dtype, name=f"conv_{i:02d}"
            )
            x_ntd = layer(x_ntd)
        return x_ntd


class NormedConvPositions(nn.Module):
    """x_ntd -> positions_ntd: one wide convolution and gelu, as wav2vec 2.0 and HuBERT have it.

    Its kernel [window, in / groups, out] is a direction with a learned length `gain` for each tap
    of the window.
    """

    kernel: int
    groups: int
    dtype: str

    @nn.compact
    def __call__(self, x_ntd: jax.Array, padding_nt: jax.Array | None = None) -> jax.Array:
        del padding_nt  # there is no second layer that could see what the first made of it
        width = x_ntd.shape[-1]
        init = nn.initializers.normal(2 / (self.kernel * width) ** 0.5)
        kernel = self.param("kernel", init, (self.kernel, width // self.groups, width))
        length = jnp.sqrt(jnp.square(kernel).sum((1, 2)))
        gain = self.param("gain", lambda _: length)
        bias = self.param("bias", nn.initializers.zeros, (width,)).astype(self.dtype)
        kernel = kernel * (gain / length)[:, None, None]
        x_ntd = grouped_conv(x_ntd.astype(self.dtype), kernel.astype(self.dtype), self.groups)
        return gelu(add_bias(x_ntd, bias))


def alibi_slopes(heads: int) -> np.ndarray:
    """[heads] float32. Powers of 2^(-8/n); other head counts interleave (REFERENCE §1.5)."""
    powers = lambda n: [2.0 ** (-8 * (h + 1) / n) for h in range(n)]
    whole = 2 ** int(np.log2(heads))
    return np.array(powers(whole) + powers(2 * whole)[::2][: heads - whole], np.float32)


def alibi(scale_h: jax.Array, ids_nt: jax.Array, prefix: int) -> jax.Array:
    """Bias [n, h, p + t, p + t] of tokens that stand at `ids_nt`; prefix tokens have none.

    -slope * max(scale, 0) * distance, from the true distances, whatever was removed.
    """
    slopes_h = alibi_slopes(len(scale_h)) * jnp.maximum(scale_h, 0)
    distance_ntt = jnp.abs(ids_nt[:, :, None] - ids_nt[:, None, :]).astype(jnp.float32)
    bias_nhtt = -slopes_h[None, :, None, None] * distance_ntt[:, None]
    return jnp.pad(bias_nhtt, ((0, 0), (0, 0), (prefix, 0), (prefix, 0)))


def relative_index(shape: tuple[int, int]) -> np.ndarray:
    """Rows of a relative table for all pairs [1 + t, 1 + t], cls first (REFERENCE §1.7)."""
    row, column = np.divmod(np.arange(shape[0] * shape[1]), shape[1])
    side = 2 * shape[1] - 1
    rows = row[:, None] - row[None] + shape[0] - 1
    columns = column[:, None] - column[None] + shape[1] - 1
    offsets = relative_rows(shape) - 3
    index = np.full((len(row) + 1,) * 2, offsets, np.int32)
    index[1:, 1:] = rows * side + columns
    index[:, 0] = offsets + 1
    index[0, 0] = offsets + 2
    return index


def relative_rows(shape: tuple[int, int]) -> int:
    """Rows of a relative table: one per offset, and three for cls."""
    return (2 * shape[0] - 1) * (2 * shape[1] - 1) + 3


class RelativeBias(nn.Module):
    """A learned bias [h, 1 + t, 1 + t] per 2-D offset, with three more for cls."""

    shape: tuple[int, int]
    heads: int

    @nn.compact
    def __call__(self) -> jax.Array:
        table = self.param("table", nn.initializers.zeros, (relative_rows(self.shape), self.heads))
        return jnp.moveaxis(table[relative_index(self.shape)], -1, 0)
