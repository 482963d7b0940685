"""The count by hand against the compiler's, and against what the recipes say they cost."""

import dataclasses
import importlib.util
import pathlib

import jax
import pytest
import systems

from d2v_jax.data2vec import flops
from d2v_jax.measure import setting
from d2v_jax.train import state, step
from d2v_jax.train.recipe import resolve as recipes

COSTS = pathlib.Path(__file__).parents[2] / "tpu" / "costs.py"


@pytest.mark.parametrize("name", systems.NAMES)
def test_matrix_products_are_what_the_compiler_counts(name):
    """Published widths, two blocks. The compiler counts everything else too, which is little."""
    fields = ["--config.train.batch_size=2", "--config.train.micro_batches=1"]
    whole = recipes.resolve(recipes.load(name, fields))
    cfg = whole.objective.cfg
    small = whole.with_sections(
        trunk=dataclasses.replace(cfg.trunk, depth=2, remat="none"),
        targets=dataclasses.replace(cfg.targets, blocks=(0, 1)),
    )
    shape = small.data.example_shape
    lowered = jax.jit(step.make_train_step(small)).lower(
        jax.eval_shape(lambda: state.create(small)), setting.abstract_batch(small, shape, 2)
    )
    ours = flops.of_example(small.objective.cfg, shape).total
    assert 1.0 < lowered.cost_analysis()["flops"] / 2 / ours < 1.12


def test_recipes_state_their_arithmetic():
    spec = importlib.util.spec_from_file_location("costs", COSTS)
    costs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(costs)
    for name, stated in costs.costs().items():
        recipe = recipes.resolve(recipes.load(name))
        each = sum(recipe.objective.arithmetic(recipe.data.example_shape).values())
        ours = each * recipe.train.batch_size * recipe.train.steps
        assert ours == pytest.approx(stated, rel=0.035), name
