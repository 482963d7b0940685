"""Where a token is, as numbers."""

import numpy as np


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
