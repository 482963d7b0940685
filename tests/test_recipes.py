"""Every recipe, whole and as smoke, builds; sizes are those of the papers."""

import math
import pathlib

import jax
import pytest

from d2v_jax.common import trees
from d2v_jax.common.checks import ConfigError
from d2v_jax.data2vec.model import Model
from d2v_jax.encoder import masking
from d2v_jax.train import state
from d2v_jax.train.recipe import resolve

FOLDER = pathlib.Path(__file__).parents[1] / "configs"
ALL = sorted(p.stem for p in FOLDER.glob("*_*.py") if not p.stem.startswith("_"))
# Those with labels take their encoder from a checkpoint: tests/supervised.
RECIPES = [name for name in ALL if not name.startswith("finetune")]
# Those of other objectives count their own: tests/baselines.
SIBLINGS = {name for name in RECIPES if resolve.load(name).objective != "data2vec"}

# Parameters of encoder and decoder, hidden of all tokens; REFERENCE §1.9, §5.1, §6.1, §7.1, §9.1,
# §9.3, §10.1, §10.3, §11.1, §11.2. Of random masks U is the most that a view may hide.
SIZES = {
    "v1_audio_base": (93_164_288, 590_592, 330, 499),
    "v1_audio_audioset": (93_164_288, 590_592, 330, 499),
    "v1_audio_large": (313_276_416, 1_049_600, 330, 499),
    "v1_image_base": (85_666_128, 590_592, 120, 196),
    "v1_image_large": (303_137_216, 1_049_600, 120, 196),
    "v1_image_large_1600": (303_137_216, 1_049_600, 120, 196),
    "v1_text_base": (124_054_272, 2_361_600, 180, 512),
    "v2_audio_base": (93_163_532, 619_776, 249, 499),
    "v2_audio_large": (313_275_408, 1_908_736, 274, 499),
    "v2_image_base": (85_647_360, 2_585_856, 157, 196),
    "v2_image_large": (303_099_904, 5_967_872, 147, 196),
    "v2_image_huge16": (630_666_240, 6_639_872, 147, 196),
    "v2_image_huge14": (630_435_840, 6_639_872, 192, 256),
    "v2_text_base": (124_054_272, 28_907_520, 246, 512),
    "v2_text_large": (354_309_120, 31_070_464, 256, 512),
    "v2_text_large_1m": (354_309_120, 31_070_464, 256, 512),
}
# §5.6, §6.5, §9.1: what the teacher owns, where the reference counts it.
TEACHERS = {
    "v1_image_base": 86_256_720,
    "v2_audio_base": 88_561_932,
    "v2_audio_large": 308_542_480,
}


@pytest.mark.parametrize("variant", ["", ":smoke"])
@pytest.mark.parametrize("name", RECIPES)
def test_builds(name, variant):
    resolved = resolve.resolve(resolve.load(name + variant))
    shapes = jax.eval_shape(lambda: state.create(resolved))
    assert resolved.recipe == name
    assert trees.count(shapes.params) > 0
    if name not in SIBLINGS:
        assert set(shapes.carried) == set(resolved.objective.cfg.teacher.owns)
    again = resolve.resolve(resolve.to_fields(resolved))
    assert again == resolved


@pytest.mark.parametrize("name", sorted(SIZES))
def test_sizes_equal_the_papers(name):
    resolved = resolve.resolve(resolve.load(name))
    shapes = jax.eval_shape(lambda: state.create(resolved))
    decoder = trees.count(shapes.params["decoder"])
    tokens = Model(resolved.objective.cfg).token_count(resolved.data.example_shape)
    hidden = masking.hidden_most(resolved.objective.cfg.mask, tokens)
    assert (trees.count(shapes.params) - decoder, decoder, hidden, tokens) == SIZES[name]
    owned = trees.count(shapes.carried)
    assert owned == TEACHERS.get(name, owned)


def test_every_published_recipe_has_its_size():
    known = set(RECIPES) - SIBLINGS
    assert set(SIZES) == {name for name in known if not name.startswith("quickstart")}


@pytest.mark.parametrize("name", sorted(SIZES))
def test_a_budget_sees_the_same_data(name):
    whole = resolve.resolve(resolve.load(name))
    text = (FOLDER / f"{name}.py").read_text()
    if "budget" not in text:
        with pytest.raises(ConfigError, match="has no variant 'budget'; there is ':smoke'$"):
            resolve.load(f"{name}:budget")
        return
    small = resolve.resolve(resolve.load(f"{name}:budget"))
    shrink = whole.train.batch_size // small.train.batch_size
    assert shrink > 1 or small.train.micro_batches > 1
    assert small.train.batch_size * small.train.steps == whole.train.batch_size * whole.train.steps
    teacher_of = lambda c: c.objective.cfg.teacher
    in_examples = lambda c: [
        steps * c.train.batch_size
        for steps in (c.optimizer.warmup_steps, c.optimizer.hold_steps, teacher_of(c).decay_steps)
    ]
    assert in_examples(small) == in_examples(whole)
    for end in ("decay_start", "decay_end"):
        forgotten = lambda c, end=end: -math.log(getattr(teacher_of(c), end)) / c.train.batch_size
        assert forgotten(small) == pytest.approx(forgotten(whole), rel=1e-6)
    assert small.optimizer.learning_rate == pytest.approx(
        whole.optimizer.learning_rate / shrink**0.5
    )
    # One device takes a batch in parts; eight share each batch evenly.
    for size in small.data.batch_sizes(small.train.batch_size):
        assert size % small.train.micro_batches == size % 8 == 0
    assert small.objective == whole.with_sections(teacher=small.objective.cfg.teacher).objective
    assert small.data == whole.data


@pytest.mark.parametrize(
    "system", ["v1_audio", "v1_image", "v1_text", "v2_audio", "v2_image", "v2_text"]
)
def test_every_system_has_a_budget(system):
    assert resolve.load(f"{system}_base:budget").train.micro_batches > 0


@pytest.mark.parametrize("name", ALL)
def test_says_what_it_costs(name):
    text = (FOLDER / f"{name}.py").read_text().split('"""')[1]
    for word in ("Command:", "Cost:", "Expected:", f"--config {name}"):
        assert word in text, f"configs/{name}.py lacks {word!r} in its docstring"


def test_unknown_variant_is_refused():
    with pytest.raises(ConfigError, match="no variant 'smok'.*':smoke'"):
        resolve.load("v2_image_base:smok")
