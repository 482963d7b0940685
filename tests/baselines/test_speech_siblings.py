"""wav2vec 2.0 and HuBERT: sizes, negatives, labels, what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from d2v_jax.baselines import contrast, hubert, speech
from d2v_jax.common import rng, trees
from d2v_jax.common.checks import ConfigError
from d2v_jax.train import state
from d2v_jax.train.recipe import resolve

# All parameters, and those of the encoder, as published.
SIZES = {
    "wav2vec2_base": (95_044_608, 94_371_712),
    "wav2vec2_large": (317_390_592, 315_438_720),
    "hubert_base": (94_697_600, 94_371_712),
    "hubert_large": (316_609_408, 315_435_136),
}
HUBERT_XLARGE = 962_493_824


def objective(name, *overrides):
    return resolve.resolve(resolve.load(name, overrides)).objective


@pytest.mark.parametrize("name", [*SIZES, "hubert_xlarge"])
def test_sizes_equal_the_published(name):
    params = jax.eval_shape(lambda: state.create(resolve.resolve(resolve.load(name)))).params
    inside = trees.count({part: params[part] for part in params if part in speech.ENCODER})
    if name == "hubert_xlarge":
        assert inside == HUBERT_XLARGE
    else:
        assert (trees.count(params), inside) == SIZES[name]


def test_negatives_are_other_hidden_frames_of_the_row():
    """Uniform over the other frames, never the frame itself, never one that only fills."""
    keys = rng.keys(jax.random.key(0), jnp.arange(400)).each_n
    counts = jnp.where(jnp.arange(400) % 2 == 0, 5, 8)
    drawn = np.asarray(contrast.draw_negatives(keys, counts, 8, 30))
    for count, rows in ((5, drawn[::2]), (8, drawn[1::2])):
        for frame in range(count):
            seen = np.bincount(rows[:, frame].ravel(), minlength=8)
            expected = rows[:, frame].size / (count - 1)
            assert seen[frame] == 0 and not seen[count:].any()
            others = np.delete(seen[:count], frame)
            assert np.abs(others - expected).max() < 5 * expected**0.5


def test_the_temperature_falls_to_its_end():
    one = objective("wav2vec2_base")
    assert float(one.noise_temperature(0)) == 2.0
    assert float(one.noise_temperature(20_000)) == pytest.approx(1.809674, rel=1e-5)
    assert float(one.noise_temperature(277_200)) > 0.5 == float(one.noise_temperature(277_300))


def test_labels_follow_the_frames():
    """Frames are cut where labels end; two labels per frame are every other one."""
    labels = jnp.arange(80).reshape(1, 80, 1)
    assert np.array_equal(hubert.aligned(labels, 39, 2.0)[0, :, 0], 2 * np.arange(39))
    assert hubert.aligned(labels, 49, 2.0).shape == (1, 40, 1)
    assert hubert.aligned(labels, 100, 1.0).shape == (1, 80, 1)


@pytest.mark.parametrize(
    ("name", "override", "message"),
    [
        ("wav2vec2_base", "contrast.width=255", "contrast.width=255 is not a multiple of contrast"),
        ("wav2vec2_base", "contrast.noise_end=3.0", "contrast.noise_end=3.0 must not exceed"),
        ("wav2vec2_base", "contrast.negatives=0", "contrast.negatives=0 must be positive"),
        ("wav2vec2_base", "mask.hide=none", "mask.hide='none': .*wav2vec2 needs 'replace'"),
        ("hubert_base", "clusters.classes=(5,)", r"clusters.classes=\(5,\) must be numbers"),
        ("hubert_base", "clusters.hidden=0.0", "clusters.hidden=0 and clusters.shown=0 leave"),
    ],
)
def test_what_cannot_work_is_refused(name, override, message):
    with pytest.raises(ConfigError, match=message):
        objective(name, f"--config.{override}")


def test_units_of_another_kind_are_refused():
    one = objective("hubert_base:smoke")
    keys = rng.keys(jax.random.key(0), jnp.zeros(2))
    batch = {"inputs": jnp.zeros((2, 16_000)), "offset": jnp.zeros(2), "scale": jnp.ones(2)}
    with pytest.raises(ConfigError, match='no "units"'):
        one.draw(keys, batch)
    with pytest.raises(ConfigError, match="3 label sets, clusters.classes="):
        one.draw(keys, batch | {"units": jnp.zeros((2, 50, 3), jnp.int32)})
