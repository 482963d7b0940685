"""Every recipe, whole and as smoke, builds; sizes are those of the papers."""

import pathlib

import jax
import pytest

from d2v_jax.common import trees
from d2v_jax.common.checks import ConfigError
from d2v_jax.data2vec import masking
from d2v_jax.train import config, state

FOLDER = pathlib.Path(__file__).parents[1] / "configs"
RECIPES = sorted(p.stem for p in FOLDER.glob("*_*.py") if not p.stem.startswith("_"))

# REFERENCE §10.1 and §1.9: encoder (without the fixed positions), decoder, visible tokens.
SIZES = {
    "v2_image_base": (85_647_360, 2_585_856, 39),
    "v2_image_large": (303_099_904, 5_967_872, 49),
    "v2_image_huge16": (630_666_240, 6_639_872, 49),
    "v2_image_huge14": (630_435_840, 6_639_872, 64),
}


@pytest.mark.parametrize("variant", ["", ":smoke"])
@pytest.mark.parametrize("name", RECIPES)
def test_builds(name, variant):
    resolved = config.resolve(config.load(name + variant))
    shapes = jax.eval_shape(lambda: state.create(resolved))
    assert resolved.recipe == name
    assert trees.count(shapes.student) > 0
    assert set(shapes.teacher) == set(resolved.model.teacher.owns)
    again = config.resolve(config.to_fields(resolved))
    assert again == resolved


@pytest.mark.parametrize("name", sorted(SIZES))
def test_sizes_equal_the_papers(name):
    resolved = config.resolve(config.load(name))
    student = jax.eval_shape(lambda: state.create(resolved)).student
    decoder = trees.count(student["decoder"])
    visible = masking.visible_count(resolved.model.mask, resolved.model.frontend.grid**2)
    assert (trees.count(student) - decoder, decoder, visible) == SIZES[name]


@pytest.mark.parametrize("name", RECIPES)
def test_says_what_it_costs(name):
    text = (FOLDER / f"{name}.py").read_text().split('"""')[1]
    for word in ("Command:", "Cost:", "Expected:", f"--config {name}"):
        assert word in text, f"configs/{name}.py lacks {word!r} in its docstring"


def test_unknown_variant_is_refused():
    with pytest.raises(ConfigError, match="no variant 'smok'.*':smoke'"):
        config.load("v2_image_base:smok")
