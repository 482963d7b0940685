"""Random words and numbers of our own generator."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.random import threefry2x32_p

from d2v_jax.common import rng


@pytest.mark.parametrize("shape", [(1,), (105,), (7, 3, 5)], ids=str)
@pytest.mark.parametrize("vmapped", [False, True])
def test_words_are_those_of_threefry(shape, vmapped):
    """JAX's own primitive is the judge, and what `jax.random.bits` makes of both."""
    key = jax.random.fold_in(rng.key(2**31 + 5), 3)
    ours = jax.vmap(lambda key: rng.words(key, shape))(key[None]) if vmapped else None
    a, b = (x[0] for x in ours) if vmapped else rng.words(key, shape)
    number = jnp.arange(np.prod(shape), dtype=jnp.uint32).reshape(shape)
    data = jax.random.key_data(key)
    other = threefry2x32_p.bind(data[0], data[1], jnp.zeros_like(number), number)
    np.testing.assert_array_equal(a, other[0])
    np.testing.assert_array_equal(b, other[1])
    np.testing.assert_array_equal(a ^ b, jax.random.bits(key, shape))


def test_numbers_are_normal():
    x = np.asarray(rng.normal(rng.key(0), (1001, 999)), np.float64)
    moments = [(x**n).mean() for n in range(1, 7)]
    error = [np.sqrt(n / x.size) for n in (1, 3 - 1, 15, 105 - 9, 945, 10395 - 225)]  # its std
    np.testing.assert_array_less(
        np.abs(np.subtract(moments, (0, 1, 0, 3, 0, 15))), 4 * np.array(error)
    )
    assert 4.5 < abs(x).max() < 5.5  # 1 in 300,000 lies beyond 4.5
    halves = x[:500], x[501:]  # of a place's two words each
    assert abs(np.corrcoef(*(half.ravel() for half in halves))[0, 1]) < 4 / np.sqrt(500 * 999)


def test_no_number_is_infinite(monkeypatch):
    ends = jnp.array([0, 2**32 - 1], jnp.uint32)
    monkeypatch.setattr(rng, "words", lambda key, shape: (ends, ends))
    x = rng.normal(rng.key(0), (4,))
    assert jnp.isfinite(x).all() and float(x[0]) == -float(x[1]) < -4.9
