"""What features are asked: examples with labels, which the model's modality reads."""

import dataclasses

from d2v_jax.common.checks import UserError
from d2v_jax.data.labelled.exams import Exam
from d2v_jax.data.sources import joined_sources
from d2v_jax.train.recipe.records import Config


def prepare(recipe: Config, source: str, count: int, seed: int) -> Exam:
    """Reads labelled examples of `source`, at most `count` to learn from and as many to test."""
    if len(joined_sources(source)) > 1:
        raise UserError(
            f"{source!r} are several sources, of which a probe cannot tell the labels; name one "
            "with --source"
        )
    data = dataclasses.replace(recipe.data, source=source)
    return data.exam(recipe.frontend, count, seed)
