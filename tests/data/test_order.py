"""Batch k is a function of the seed and k; rounds are permutations; weights are kept."""

import pickle

import numpy as np
import pytest

from d2v_jax.common.checks import UserError
from d2v_jax.data.order import CYCLE, Bucket, Order, weights_of


def ids(order: Order, batches: range) -> np.ndarray:
    return np.concatenate([order[k][1] for k in batches])


def shares(cfg, sizes: tuple[int, ...]) -> tuple[float, ...]:
    return weights_of(cfg.weights, cfg.temperature, sizes, cfg.source)


def test_each_round_is_a_new_permutation():
    order = Order([Bucket(1, 8, (np.arange(100, 200),))], (1.0,), seed=3)
    taken = ids(order, range(50)).reshape(4, 100)  # rounds run on across batches
    for one in taken:
        assert sorted(one) == list(range(100, 200))
    assert len({tuple(one) for one in taken}) == 4
    assert not np.array_equal(taken[0], ids(Order(order.buckets, (1.0,), 4), range(50))[:100])


def test_any_batch_without_those_before_it():
    parts = (np.arange(1000), np.arange(1000, 1100))
    order = Order([Bucket(1, 8, parts), Bucket(2, 4, (parts[1], parts[0]))], (0.3, 0.7), seed=3)
    forwards = [order[k] for k in range(300)]
    again = pickle.loads(pickle.dumps(order))
    for k in reversed(range(300)):
        number, taken = again[k]
        assert number == forwards[k][0] and np.array_equal(taken, forwards[k][1])
    assert len(order[10**12][1]) in (4, 8)


def test_weights_are_kept():
    small, large = np.arange(50), np.arange(50, 5000)
    order = Order([Bucket(1, 10, (small, large))], (0.25, 0.75), seed=3)
    taken = ids(order, range(CYCLE // 10))
    assert (taken < 50).sum() == CYCLE / 4
    assert 240 <= (taken[:1000] < 50).sum() <= 260  # spread evenly, not one behind the other
    counts = np.bincount(taken[taken < 50])
    assert counts.min() == counts.max()  # 2,500 draws: fifty whole rounds


def test_a_hair_of_a_source_is_not_forgotten():
    order = Order([Bucket(1, 10, (np.arange(3), np.arange(3, 100)))], (1e-7, 1 - 1e-7), seed=3)
    assert (ids(order, range(CYCLE // 10)) < 3).sum() == 1


def test_buckets_come_in_random_order_as_often_as_they_hold():
    short, long = np.arange(300), np.arange(300, 400)
    order = Order(
        [Bucket(10, 6, (short,)), Bucket(20, 2, (long,)), Bucket(30, 1, (long[:0],))],
        (1.0,),
        seed=3,
    )
    assert len(order.buckets) == 2
    numbers = np.array([order[k][0] for k in range(1000)])
    assert [(numbers[:100] == n).sum() for n in (0, 1)] == [50, 50]  # of every round
    assert len(set(np.flatnonzero(numbers[:100]))) == 50
    assert not np.array_equal(numbers[:100], numbers[100:200])
    assert abs(numbers[:20].mean() - 0.5) < 0.35  # mixed, not one behind the other
    for number, held in enumerate((short, long)):
        taken = np.concatenate([order[k][1] for k in range(100) if order[k][0] == number])
        assert sorted(taken) == sorted(held)


def test_weights_of_sources(config):
    cfg = config("a + b", weights=(1.0, 3.0))
    assert shares(cfg, (10, 1000)) == (0.25, 0.75)
    assert shares(config("a + b"), (100, 300)) == (0.25, 0.75)
    hot = shares(config("a + b", temperature=2.0), (100, 900))
    assert hot == pytest.approx((0.25, 0.75), rel=1e-12)
    with pytest.raises(UserError, match="has 2 entries for the 3 sources .*'a . b'; give one"):
        shares(cfg, (1, 2, 3))
