"""Multiply-adds of matrix products, by hand, of what siblings have in common."""

from d2v_jax.encoder.sections import TrunkConfig


def blocks(depth: int, rows: int, width: int, mlp_ratio: float) -> int:
    """Of Transformer blocks for one row of so many tokens, forwards."""
    attention = 4 * rows * width**2 + 2 * rows**2 * width
    return depth * (attention + 2 * rows * width * int(width * mlp_ratio))


def encoder(trunk: TrunkConfig, rows: int) -> int:
    """Of prenet and trunk, forwards."""
    return blocks(trunk.prenet_depth + trunk.depth, rows, trunk.width, trunk.mlp_ratio)
