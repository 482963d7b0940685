"""Probes of large sets agree with scikit-learn's."""

import numpy as np
import pytest

from d2v_jax.transfer.probes import large, probe


@pytest.fixture(scope="module")
def sets():
    """Features that overlap: 600 to learn from, 300 to test, five classes that are called by odd
    numbers."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, 900)
    features = rng.normal(0, 1, (5, 12))[labels] + rng.normal(0, 1.6, (900, 12))
    features = (features * 3 + 7).astype(np.float32)
    names = np.array([2, 3, 5, 7, 11])[labels]
    return features[:600], names[:600], features[600:], names[600:]


def test_linear(sets):
    ours, theirs = large.linear_accuracy(*sets), probe.linear_accuracy(*sets)
    assert 0.4 < theirs < 0.95 and abs(ours - theirs) < 0.01


def test_nearest_neighbours(sets):
    ours, theirs = large.knn_accuracy(*sets, 20), probe.knn_accuracy(*sets)
    assert 0.4 < theirs < 0.95 and abs(ours - theirs) < 0.02  # ties are broken otherwise
