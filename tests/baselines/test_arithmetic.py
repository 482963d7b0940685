"""The siblings' count by hand against the compiler's."""

import dataclasses

import jax
import pytest

from d2v_jax.measure.setting import abstract_batch
from d2v_jax.train import state, step
from d2v_jax.train.recipe import resolve

NAMES = ("hubert_base", "mae_base", "roberta_base", "wav2vec2_base")


@pytest.mark.parametrize("name", NAMES)
def test_matrix_products_are_what_the_compiler_counts(name):
    """Published widths, two blocks. The compiler counts everything else too, which is little."""
    fields = ["--config.train.batch_size=2", "--config.train.micro_batches=1"]
    whole = resolve.resolve(resolve.load(name, fields))
    trunk = dataclasses.replace(whole.objective.cfg.trunk, depth=2, remat="none")
    small = whole.with_sections(trunk=trunk)
    shape = small.data.example_shape
    lowered = jax.jit(step.make_train_step(small)).lower(
        jax.eval_shape(lambda: state.create(small)), abstract_batch(small, shape, 2)
    )
    ours = sum(small.objective.arithmetic(shape).values())
    assert 1.0 < lowered.cost_analysis()["flops"] / 2 / ours < 1.03
