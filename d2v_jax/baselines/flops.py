"""What the matrix products of siblings cost, counted by hand."""

from d2v_jax.encoder.sections import EncoderConfig, TrunkConfig
from d2v_jax.nn.recurrent import GATES


def of_encoder(cfg: EncoderConfig, example_shape: tuple[int, ...]) -> dict[str, float]:
    """Floating-point operations of matrix products for one example, two to a multiply-add.

    Forwards and backwards together, of all tokens.
    """
    tokens = cfg.frontend.token_count(example_shape)
    frontend = sum(cfg.frontend.multiply_adds(example_shape, cfg.trunk.width))
    return {
        "frontend": 2 * frontend,
        "encoder": 6 * (_positions(cfg, tokens) + trunk(cfg.trunk, tokens)),
    }


def trunk(cfg: TrunkConfig, tokens: int) -> int:
    """Multiply-adds of prenet and trunk for one row of so many tokens and the prefix, forwards.

    A recurrent layer takes what enters and its own state to all gates; both are D wide.
    """
    if cfg.block in GATES:
        return cfg.depth * tokens * 2 * GATES[cfg.block] * cfg.width**2
    rows = tokens + cfg.prefix_tokens
    return blocks(cfg.prenet_depth + cfg.depth, rows, cfg.width, cfg.hidden)


def blocks(depth: int, rows: int, width: int, hidden: int) -> int:
    """Multiply-adds of Transformer blocks for so many rows of a matrix, forwards."""
    return depth * (4 * rows * width**2 + 2 * rows**2 * width + 2 * rows * width * hidden)


def _positions(cfg: EncoderConfig, tokens: int) -> float:
    places, width = cfg.positions, cfg.trunk.width
    layers = {"conv": places.conv_layers, "normed_conv": 1}.get(places.add, 0)
    return tokens * layers * places.conv_kernel * width**2 // places.conv_groups
