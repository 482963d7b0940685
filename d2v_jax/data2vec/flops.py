"""The arithmetic of one update, counted by hand: what a device that only multiplied would do."""

from typing import NamedTuple

from d2v_jax.data2vec.sections import Data2VecConfig
from d2v_jax.encoder import masking


class Flops(NamedTuple):
    """Floating-point operations of matrix products for one example, two to a multiply-add.

    Forwards and backwards together; nothing that rematerialisation computes again, no element-wise
    work, no masks. The teacher has no way back.
    """

    frontend: float
    teacher: float
    student: float
    decoder: float

    @property
    def total(self) -> float:
        return sum(self)


def of_example(cfg: Data2VecConfig, example_shape: tuple[int, ...]) -> Flops:
    """The parts of an update that one example of this shape needs."""
    trunk, frontend = cfg.trunk, cfg.frontend
    tokens = frontend.token_count(example_shape)
    hidden = masking.hidden_most(cfg.mask, tokens)
    visible = tokens - hidden if cfg.mask.hide == "remove" else tokens
    forwards, backwards = frontend.multiply_adds(example_shape, trunk.width)
    positions = tokens * _conv_positions(cfg)
    views = cfg.mask.views
    own = 0 if cfg.teacher.sees == "tokens" else forwards
    return Flops(
        frontend=2 * (forwards + backwards),
        teacher=2 * (own + positions + _blocks(cfg, tokens)),
        student=2 * 3 * views * (positions + _blocks(cfg, visible)),
        decoder=2 * 3 * views * _decoder(cfg, tokens, hidden),
    )


def _blocks(cfg: Data2VecConfig, tokens: int) -> int:
    """Multiply-adds of prenet and trunk for one row of so many tokens and the prefix."""
    trunk, rows = cfg.trunk, tokens + cfg.trunk.prefix_tokens
    attention = 4 * rows * trunk.width**2 + 2 * rows**2 * trunk.width
    mlp = 2 * rows * trunk.width * trunk.hidden
    return (trunk.prenet_depth + trunk.depth) * (attention + mlp)


def _conv_positions(cfg: Data2VecConfig) -> int:
    """Multiply-adds per token."""
    positions, width = cfg.positions, cfg.trunk.width
    if positions.add != "conv":
        return 0
    return positions.conv_layers * positions.conv_kernel * width**2 // positions.conv_groups


def _decoder(cfg: Data2VecConfig, tokens: int, hidden: int) -> int:
    """Multiply-adds of one view: convolutions everywhere, projections at the hidden places."""
    decoder, width, total = cfg.decoder, cfg.trunk.width, 0
    window = decoder.kernel ** len(cfg.frontend.grid)
    for _ in range(decoder.layers):
        total += tokens * window * width * decoder.width // decoder.groups
        width = decoder.width
    for out in (*decoder.hidden, cfg.trunk.width):
        total += hidden * width * out
        width = out
    return total
