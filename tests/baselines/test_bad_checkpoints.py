"""Checkpoints of other siblings, and codebooks of other sizes: what does not fit is named."""

import copy
import pathlib

import pytest

from d2v_jax.common.checks import UserError
from d2v_jax.train.recipe import resolve
from d2v_jax.transfer import reading

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"
PLACES = {
    "wav2vec2": GOLDEN / "wav2vec2" / "checkpoint.pt",
    "hubert": GOLDEN / "hubert" / "checkpoint.pt",
    "mae": GOLDEN / "mae" / "checkpoint.pt",
    "bert": GOLDEN / "hf_bert" / "pretrained",
    "roberta": GOLDEN / "hf_roberta_mlm" / "pretrained",
}
# The recipe's origin, what is changed in it, the checkpoint, and what is said.
ROWS = [
    ("wav2vec2", {"contrast.entries": 7}, "wav2vec2", "quantizer/entries is .*contrast.entries"),
    ("wav2vec2", {"contrast.groups": 1}, "wav2vec2", "quantizer/entries is .*of contrast.groups"),
    ("wav2vec2", {"contrast.projected": 8}, "wav2vec2", "target/kernel is .*and .projected"),
    (
        "hubert",
        {"clusters.classes": (15, 16)},
        "hubert",
        "clusters/embedding is .*clusters.classes",
    ),
    ("hubert", {"clusters.projected": 8}, "hubert", "prediction/kernel is .*clusters.projected"),
    ("mae", {"painter.width": 12}, "mae", "decoder/blocks/.* is .*painter.width"),
    ("mae", {"painter.depth": 3}, "mae", "missing decoder/blocks/block_02.*painter.depth"),
    ("wav2vec2", {}, "hubert", "a hubert_audio model.*left over clusters/.*objective='wav2vec2'"),
    ("hubert", {}, "wav2vec2", "a wav2vec2_audio model.*left over quantizer.*objective='hubert'"),
    ("bert", {}, "mae", "holds a model of image, but the recipe is of text"),
    ("mae", {}, "hubert", "holds a model of audio, but the recipe is of image"),
    ("bert", {}, "roberta", "frontend/types/embedding is .*objective='bert'"),
]


@pytest.fixture(scope="module")
def loaded():
    return {name: reading.read(path) for name, path in PLACES.items()}


@pytest.mark.parametrize(("recipe", "changes", "checkpoint", "words"), ROWS)
def test_what_does_not_fit_is_named(loaded, recipe, changes, checkpoint, words):
    fields = copy.deepcopy(resolve.to_fields(loaded[recipe].recipe))
    for path, value in changes.items():
        section, name = path.split(".")
        assert fields[section][name] != value
        fields[section][name] = value
    config = resolve.resolve({**fields, "init_from": str(PLACES[checkpoint])})
    with pytest.raises(UserError, match=f"(?s){words}"):
        reading.start_from(config, loaded[checkpoint])


@pytest.mark.parametrize("name", PLACES)
def test_its_own_fits(loaded, name):
    """What is refused above is refused for what was changed."""
    fields = {**resolve.to_fields(loaded[name].recipe), "init_from": str(PLACES[name])}
    params, _ = reading.start_from(resolve.resolve(fields), loaded[name])
    assert params.keys() >= loaded[name].params.keys()
