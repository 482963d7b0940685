"""How arrays lie in memory: a word to the compiler, no number moves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from d2v_jax.data2vec import decoder
from d2v_jax.data2vec.sections import DecoderConfig
from d2v_jax.nn import layout


@pytest.mark.parametrize(
    ("rows", "groups", "where", "told"),
    [(128, 2, "tpu", 2), (96, 2, "tpu", 0), (128, 1, "tpu", 0), (128, 2, "cpu", 0)],
)
def test_a_decoder_of_groups_keeps_full_registers_of_rows(monkeypatch, rows, groups, where, told):
    cfg = DecoderConfig(2, 8, 3, groups, True, (), "torch", noise_std=0.0, input_dropout=0.0)
    module = decoder.Decoder(cfg, (2, 3), 8, "float32")
    x_ntd = jax.random.normal(jax.random.key(0), (rows, 6, 8))
    hidden_nu = jnp.tile(jnp.arange(2), (rows, 1))
    params = module.init(jax.random.key(1), x_ntd, hidden_nu)

    def both_ways():
        """A new function each time: JAX would not trace the same one again."""
        return jax.jit(jax.value_and_grad(lambda x: module.apply(params, x, hidden_nu).sum()))

    plain = both_ways()(x_ntd)
    monkeypatch.setattr(layout, "platform", lambda: where)
    forwards = jax.make_jaxpr(lambda x: module.apply(params, x, hidden_nu))(x_ntd)
    assert str(forwards).count("layout_constraint") == told
    for one, other in zip(jax.tree.leaves(both_ways()(x_ntd)), jax.tree.leaves(plain)):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
