"""BERT and MAE as objectives: sizes, terms, and what is said of recipes that cannot work."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from d2v_jax.baselines import corruption, mae
from d2v_jax.common import rng, trees
from d2v_jax.common.checks import UserError
from d2v_jax.train import state
from d2v_jax.train.recipe import resolve

# Hugging Face's counts of the pre-training models, and MAE's encoder and decoder.
SIZES = {
    "bert_base": 110_106_428,
    "bert_large": 336_226_108,
    "bert_large_words": 336_226_108 - 1024 * 1025 - 2050,  # no pooler, no next sentence
    "roberta_base": 124_697_433,
    "roberta_large": 355_412_057,
    "mae_base": 85_647_360 + 26_008_320,
    "mae_large": 303_099_904 + 26_139_392,
    "mae_huge14": 630_435_840 + 26_178_124,
}


@pytest.mark.parametrize("name", sorted(SIZES))
def test_sizes_equal_the_published(name):
    resolved = resolve.resolve(resolve.load(name))
    shapes = jax.eval_shape(lambda: state.create(resolved))
    assert trees.count(shapes.params) == SIZES[name] and not shapes.carried
    assert resolve.resolve(resolve.completed(resolve.to_fields(resolved))) == resolved
    assert all(resolve.resolve(resolve.load(f"{name}:{v}")) for v in ("smoke", "budget"))


def test_patches_are_normalised_by_their_unbiased_deviation():
    image = np.random.default_rng(0).normal(3, 2, (2, 8, 8, 3)).astype(np.float32)
    one = image[1, 4:, :4].reshape(-1)  # row-major patches, channels last
    assert np.allclose(mae.patches(image, 4, False)[1, 2], one)
    normal = (one - one.mean()) / np.sqrt(one.var(ddof=1) + 1e-6)
    assert np.allclose(mae.patches(image, 4, True)[1, 2], normal, atol=1e-5)


@pytest.mark.parametrize(
    ("recipe", "changes", "words"),
    [
        ("mae_base", ["mask.hide=replace"], "mask.hide='replace'"),
        ("mae_base", ["painter.heads=3"], "painter.width=.*painter.heads=3"),
        (
            "bert_base",
            ["sentences.next=True", "frontend.types=1"],
            "sentences.next=True needs frontend.types=2",
        ),
        ("roberta_base", ["corruption.random_share=0.3"], "corruption.random_share=0.3 exceed 1"),
        ("roberta_base", ["corruption.separator=70000"], "id 70000, .*vocab_size=261"),
        ("bert_base", ["mask.hide=replace"], "mask.hide='replace'"),
    ],
)
def test_what_cannot_work_is_named(recipe, changes, words):
    with pytest.raises(UserError, match=words):
        resolve.resolve(resolve.load(f"{recipe}:smoke", [f"--config.{c}" for c in changes]))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("sentences.next=True", "sentences.next=True needs pairs"),
        ("corruption.words=True", "words"),
    ],
)
def test_what_the_batch_lacks_is_named(change, words):
    given = [f"--config.{change}", "--config.frontend.types=2"]
    objective = resolve.resolve(resolve.load("bert_base:smoke", given)).objective
    batch = {"inputs": jnp.ones((2, 64), jnp.int32)}
    with pytest.raises(UserError, match=words):
        objective.draw(rng.keys(jax.random.key(0), jnp.arange(2)), batch)


def test_pairs_learn_what_follows():
    objective = resolve.resolve(
        resolve.load("bert_base:smoke", ["--config.sentences.next=True"])
    ).objective
    ids = np.random.default_rng(0).integers(4, 260, (2, 64))
    ids[:, 20] = ids[:, 50] = 2
    ids[:, 51:] = 1
    batch = {"inputs": jnp.asarray(ids, jnp.int32), "labels": jnp.array([0, 1])}
    keys = rng.keys(jax.random.key(0), jnp.arange(2))
    drawn = objective.draw(keys, batch)
    assert drawn.types_bt[0].tolist() == [0] * 21 + [1] * 30 + [0] * 13
    params = objective.init(jax.random.key(1), (64,))
    total, metrics = objective.loss(params, {}, drawn, keys, objective.counts(drawn), 0)
    terms = [metrics[name][0] / metrics[name][1] for name in ("masked", "next")]
    assert np.allclose(total, sum(terms), rtol=1e-6)


def test_types_begin_behind_the_first_separator():
    ids = jnp.array([[0, 7, 2, 8, 2, 1, 1]])
    assert corruption.types(ids, 2, 1).tolist() == [[0, 0, 0, 1, 1, 0, 0]]
