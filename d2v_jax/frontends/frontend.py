"""What a frontend is: one modality in, tokens out. Everything else asks for nothing more."""

from collections.abc import Mapping
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from d2v_jax.common.checks import ConfigError
from d2v_jax.common.outside import class_of
from d2v_jax.common.rng import Keys

Grid = tuple[int | None, ...]


class Inputs(NamedTuple):
    """Examples as a frontend's module takes them: waves, pixels, ids [b, ...].

    `lengths_b` counts the valid places of examples that were padded; None where all are, or where
    the values themselves tell.
    """

    values: jax.Array
    lengths_b: jax.Array | None = None


class Frontend:
    """The model's side of a modality. A subclass is a frozen dataclass, the recipe's `frontend`.

    Of its fields those that the `data` section has too, of the same name, are read from there.
    """

    needed = ("build", "token_count")  # what a subclass must define
    dtype = jnp.float32  # of the values of `Inputs`
    hides_inputs = False  # whether an input itself can say "hidden", as the id of `<mask>` does

    @property
    def modality(self) -> str:
        """As in `c.modality`: of ours a word, of others the name of their module."""
        return type(self).__module__.removeprefix("d2v_jax.frontends.")

    @property
    def grid(self) -> Grid:
        """How tokens stand, row-major: (t,), (y, x), (channels, t), (t, y, x).

        None for at most one side, which then follows from the length of the example. Masks,
        positions and decoders follow it.
        """
        return (None,)

    def build(self, width: int, dtype: str, init: str) -> nn.Module:
        """The module (values, keys) -> tokens_btd; `init` is `trunk.init`."""
        raise NotImplementedError

    def apply(self, module: nn.Module, inputs: Inputs, random: Keys | None) -> jax.Array:
        """The tokens that the module makes of `inputs`; `random`, a key each, is for dropout."""
        return module(inputs.values, random)

    def prepare(self, batch: Mapping[str, jax.Array]) -> Inputs:
        """A batch as it travels -> what the module takes."""
        return Inputs(batch["inputs"])

    def token_count(self, example_shape: tuple[int, ...]) -> int:
        """Tokens of one example of this shape."""
        raise NotImplementedError

    def padding(self, inputs: Inputs) -> jax.Array | None:
        """Tokens that are nothing [b, t]; None where there are none."""
        del inputs
        return None

    def hide(self, inputs: Inputs, hidden_bt: jax.Array) -> Inputs:
        """`inputs` that say "hidden" at these places; only where `hides_inputs`."""
        raise ConfigError(f"{type(self).__name__} has no input that stands for a hidden one")

    def only(self, inputs: Inputs, hidden_bt: jax.Array) -> Inputs:
        """`inputs` of which all but the hidden are padding; only where `hides_inputs` (T1)."""
        raise ConfigError(f"{type(self).__name__} has no input that stands for nothing")

    def multiply_adds(self, example_shape: tuple[int, ...], width: int) -> tuple[int, int]:
        """Of matrix products for one example: forwards, and backwards."""
        del example_shape, width
        return 0, 0

    def check(self) -> None:
        """Raises `ConfigError` for fields that cannot work together."""


def grid_shape(grid: Grid, tokens: int) -> tuple[int, ...]:
    """`grid` with so many tokens, its open side filled in."""
    known = 1
    for side in grid:
        known *= side or 1
    return tuple(tokens // known if side is None else side for side in grid)


OURS = {name: f"d2v_jax.frontends.{name}" for name in ("audio", "image", "text")}


def frontend_class(modality: str) -> type[Frontend]:
    """The `Frontend` of a modality: one of ours, or of an importable module of that name.

    Raises `UserError` where there is none.
    """
    return class_of("modality", modality, OURS, "Frontend", Frontend)
