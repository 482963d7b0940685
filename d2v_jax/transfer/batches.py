"""Inputs of any length, cut into batches of few shapes for a compiled encoder."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from d2v_jax.common.checks import UserError
from d2v_jax.train.recipe.records import Config


class Batch(NamedTuple):
    """`inputs`: (values, valid lengths or None); row i is input `order[i]`, later rows fill.

    A batch always has its full size, so that a result does not depend on how many there were.
    """

    order: list[int]
    inputs: tuple[Any, np.ndarray | None]


def cut(recipe: Config, inputs: Any, standardise: bool = True) -> Iterator[Batch]:
    """Inputs as `Encoder.features` takes them. Raises `UserError` for what does not fit.

    An example's batch has a shape that follows from its own length alone. `standardise`: waves
    are raw, to be standardised here.
    """
    if isinstance(inputs, str | bytes | dict) or not hasattr(inputs, "__len__"):
        raise UserError(f"inputs are a {type(inputs).__name__}; give an array or a list")
    if hasattr(inputs, "__array__"):
        inputs = np.asarray(inputs)
        if not inputs.ndim:
            raise UserError("inputs are a single number; give an array or a list")
    if not len(inputs):
        raise UserError("there is nothing to encode; give at least one example")
    frontend, large = recipe.frontend, jax.default_backend() != "cpu"
    for one in recipe.data.cut_inputs(inputs, frontend, large, standardise):
        yield Batch(one.order, (frontend.prepare(one.arrays).values, one.lengths_b))
