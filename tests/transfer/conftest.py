"""Each recorded checkpoint is opened once; runs are trained on one of the virtual devices."""

import functools

import jax
import numpy as np
import pytest
from recorded import checkpoint

from d2v_jax.common import trees
from d2v_jax.train.recipe import resolve
from d2v_jax.transfer import encoder, reading


@pytest.fixture(scope="session")
def load():
    """case -> its encoder."""
    return functools.cache(lambda case: encoder.load(checkpoint(case)))


@pytest.fixture(scope="session")
def letters():
    """An untrained encoder of text that reads bytes."""
    recipe = resolve.resolve(resolve.load("v2_text_base:smoke"))
    rng = np.random.default_rng(3)
    near = lambda path, x: path.endswith("scale") + rng.normal(0, 0.1, x.shape).astype(np.float32)
    student = trees.map_with_path(near, reading.shapes_of(recipe))
    owned = {
        part: jax.tree.map(lambda x: x + 0.01, student[part])
        for part in recipe.objective.cfg.teacher.owns
    }
    return encoder.Encoder(recipe, student, owned, None, 3)
