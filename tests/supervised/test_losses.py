"""CTC against a sum over alignments, mixing, and what hides tokens."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from finetuning import RECORDED, SEEDS, utterances

from d2v_jax.common import rng
from d2v_jax.decoding.greedy import log_probability, log_softmax
from d2v_jax.supervised import ctc, mixing
from d2v_jax.supervised.sections import AugmentConfig

PLAIN = AugmentConfig(
    noise_std=0.01, channel_share=0.0, channel_block=4, mixup=0.0, cutmix=0.0, mix_share=1.0,
    cutmix_share=0.5, erase=0.0, waves=False, smoothing=0.0,
)  # fmt: skip


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("blank", [0, 4])
def test_ctc_sums_all_alignments(seed, blank):
    logits, lengths, labels = utterances(seed)
    if blank:
        labels = np.where(labels > 0, labels - 1, labels)
    padding = np.arange(logits.shape[1]) >= lengths[:, None]
    ours = jax.jit(ctc.ctc_losses, static_argnums=3)
    losses, possible = map(np.asarray, ours(logits, padding, labels, blank))
    for row in range(len(logits)):
        real = [int(label) for label in labels[row] if label >= 0]
        truth = -log_probability(log_softmax(logits[row, : lengths[row]]), real, blank)
        assert possible[row] == np.isfinite(truth)
        np.testing.assert_allclose(losses[row], truth if possible[row] else 0, rtol=2e-5, atol=1e-5)
    assert possible.tolist() == [True, True, True, False, True, True, False]


@pytest.mark.parametrize("seed", SEEDS)
def test_ctc_equals_torch(seed):
    """Losses and the gradient's size, recorded by finetuning.py."""
    logits, lengths, labels = utterances(seed)
    padding = np.arange(logits.shape[1]) >= lengths[:, None]
    theirs = json.loads(RECORDED.read_text())["ctc"][seed]
    run = lambda x: ctc.ctc_losses(x, padding, labels, 0)[0]
    np.testing.assert_allclose(run(logits), theirs["losses"], rtol=2e-5, atol=1e-5)
    slopes = jax.grad(lambda x: run(x).sum())(logits)
    np.testing.assert_allclose(
        jnp.square(slopes).sum((1, 2)), theirs["squares"], rtol=1e-4, atol=1e-6
    )


def test_what_is_impossible_has_no_gradient():
    logits, lengths, labels = utterances(0)
    padding = np.arange(logits.shape[1]) >= lengths[:, None]
    grads = jax.grad(lambda x: ctc.ctc_losses(x, padding, labels, 0)[0].sum())(logits)
    grads = np.asarray(grads)
    assert np.isfinite(grads).all() and not grads[3].any() and grads[0].any()
    assert not grads[padding].any()


def test_soft_labels_are_smoothed():
    np.testing.assert_allclose(
        mixing.smoothed(jnp.array([1]), 4, 0.1), [[0.025, 0.925, 0.025, 0.025]], rtol=1e-6
    )


@pytest.mark.parametrize("how", [dict(mixup=0.8), dict(cutmix=1.0), dict(mixup=0.8, cutmix=1.0)])
def test_labels_are_mixed_as_pictures_are(how):
    """Pictures that are all 0 or all 1: their mean is the share of the label."""
    cfg = dataclasses.replace(PLAIN, **how)
    values = jnp.stack([jnp.zeros((16, 16, 1)), jnp.ones((16, 16, 1))])
    labels = jnp.eye(2)
    shares = []
    for seed in range(40):
        one = mixing.images(values, labels, cfg, jax.random.key(seed))
        means = np.asarray(one.values.mean((1, 2, 3)))
        np.testing.assert_allclose(means, np.asarray(one.labels_bc)[:, 1], atol=1e-5)
        np.testing.assert_allclose(np.asarray(one.labels_bc).sum(-1), 1, rtol=1e-6)
        shares.append(float(means[0]))
    assert np.std(shares) > 0.1


def test_batches_are_left_alone_at_that_share():
    cfg = dataclasses.replace(PLAIN, mixup=1.0, mix_share=0.25)
    values, labels = jnp.stack([jnp.zeros((4, 4, 1)), jnp.ones((4, 4, 1))]), jnp.eye(2)
    run = jax.jit(lambda key: mixing.images(values, labels, cfg, key).labels_bc[0, 0])
    whole = np.mean([float(run(jax.random.key(seed))) == 1 for seed in range(400)])
    assert 0.68 < whole < 0.82


def test_erased_rectangles():
    values = jnp.zeros((400, 16, 16, 1))
    random = rng.keys(jax.random.key(0), jnp.arange(400))
    found = np.asarray(mixing.erased(values, 0.25, random) != 0).reshape(400, -1)
    touched = found.any(1)
    assert 0.17 < touched.mean() < 0.33
    areas = found[touched].mean(1)
    assert 0.01 < areas.min() and areas.max() < 0.4 and areas.std() > 0.05


@pytest.mark.parametrize(("share", "hidden"), [(0.1, 0.083), (0.25, 0.20), (0.5, 0.35)])
def test_channels_in_spans(share, hidden):
    """The shares of 768 channels that the originals were seen to hide (§12.1)."""
    cfg = dataclasses.replace(PLAIN, channel_share=share, channel_block=64)
    random = rng.keys(jax.random.key(0), jnp.arange(300))
    found = np.asarray(mixing.channels(cfg, 768, 8, random))
    np.testing.assert_allclose(found.mean(), hidden, rtol=0.15)
    assert np.diff(found.astype(int), axis=1).any(1).all()
