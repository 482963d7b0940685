"""The views of a batch answered in parts, one after the other, to save memory."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from d2v_jax.common import rng


def in_parts(
    answer: Callable[[Any, rng.Keys], Any], mask: Any, random: rng.Keys, batch: int, parts: int
) -> Any:
    """The sum of `answer(mask, random)` over parts of each example's views, one after the other.

    Backwards each part is computed once more: only one part's activations are held at a time.
    """
    if parts == 1:
        return answer(mask, random)
    # Views of one example lie side by side: [n, ...] -> [parts, n / parts, ...].
    split = lambda x: jnp.swapaxes(x.reshape(batch, parts, -1, *x.shape[1:]), 0, 1).reshape(
        parts, -1, *x.shape[1:]
    )

    @jax.checkpoint
    def add(sums: Any, part: Any) -> tuple[Any, None]:
        mask, each_n = part
        return jax.tree.map(jnp.add, sums, answer(mask, rng.Keys(random.all, each_n))), None

    every = jax.tree.map(split, mask), split(random.each_n)
    first = jax.tree.map(lambda x: x[0], every)
    like = jax.eval_shape(lambda m, e: answer(m, rng.Keys(random.all, e)), *first)
    return jax.lax.scan(add, jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), like), every)[0]
