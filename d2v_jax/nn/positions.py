"""Where a token is: codes added to tokens, or biases of attention."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from d2v_jax.nn.conv import ConvLayer


def sincos_2d(grid: int, width: int) -> np.ndarray:
    """Fixed codes [grid * grid, width] float32, row-major.

    The first half of the channels encodes the column, the second the row; each half is sines
    then cosines of p / 10000^(i / (width / 4)) (REFERENCE §1.6).
    """
    quarter = width // 4
    frequencies = 10_000.0 ** -(np.arange(quarter) / quarter)
    angles = np.arange(grid)[:, None] * frequencies
    code = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    columns = np.tile(code, (grid, 1))
    rows = np.repeat(code, grid, axis=0)
    return np.concatenate([columns, rows], axis=1).astype(np.float32)


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


def relative_index(grid: int) -> np.ndarray:
    """Rows of a relative table for all pairs [1 + grid², 1 + grid²], cls first (REFERENCE §1.7)."""
    row, column = np.divmod(np.arange(grid * grid), grid)
    side = 2 * grid - 1
    rows = row[:, None] - row[None] + grid - 1
    columns = column[:, None] - column[None] + grid - 1
    index = np.full((grid * grid + 1,) * 2, side * side, np.int32)
    index[1:, 1:] = rows * side + columns
    index[:, 0] = side * side + 1
    index[0, 0] = side * side + 2
    return index


class RelativeBias(nn.Module):
    """A learned bias [h, 1 + g², 1 + g²] per 2-D offset, with three more for cls."""

    grid: int
    heads: int

    @nn.compact
    def __call__(self) -> jax.Array:
        rows = (2 * self.grid - 1) ** 2 + 3
        table = self.param("table", nn.initializers.zeros, (rows, self.heads))
        return jnp.moveaxis(table[relative_index(self.grid)], -1, 0)
