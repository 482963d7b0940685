"""The arithmetic of an encoder that is trained, counted by hand."""

from d2v_jax.encoder.sections import EncoderConfig


def of_encoder(cfg: EncoderConfig, example_shape: tuple[int, ...]) -> dict[str, float]:
    """Floating-point operations of matrix products for one example, two to a multiply-add.

    Forwards and backwards together, of all tokens.
    """
    tokens = cfg.frontend.token_count(example_shape)
    frontend = sum(cfg.frontend.multiply_adds(example_shape, cfg.trunk.width))
    return {
        "frontend": 2 * frontend,
        "encoder": 6 * (_positions(cfg, tokens) + blocks(cfg, tokens)),
    }


def blocks(cfg: EncoderConfig, tokens: int) -> float:
    """Multiply-adds of prenet and trunk for one row of so many tokens and the prefix."""
    trunk, rows = cfg.trunk, tokens + cfg.trunk.prefix_tokens
    attention = 4 * rows * trunk.width**2 + 2 * rows**2 * trunk.width
    mlp = 2 * rows * trunk.width * trunk.hidden
    return (trunk.prenet_depth + trunk.depth) * (attention + mlp)


def _positions(cfg: EncoderConfig, tokens: int) -> float:
    places, width = cfg.positions, cfg.trunk.width
    layers = {"conv": places.conv_layers, "normed_conv": 1}.get(places.add, 0)
    return tokens * layers * places.conv_kernel * width**2 // places.conv_groups
