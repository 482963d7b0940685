"""Attention of some rows after the others is attention."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import systems

from d2v_jax.common import rng
from d2v_jax.nn import attention
from d2v_jax.nn.attention import Attention
from d2v_jax.train import state, step

ROWS, TOKENS, WIDTH, HEADS = 8, 6, 16, 4


def arguments(bias, padding, noise):
    """x, bias_nhtt of that many rows, padding and keys, or None."""
    draw = np.random.default_rng(0).standard_normal
    x_ntd = jnp.asarray(draw((ROWS, TOKENS, WIDTH)), jnp.float32)
    bias_nhtt = jnp.asarray(draw((bias, HEADS, TOKENS, TOKENS)), jnp.float32) if bias else None
    padding_nt = jnp.arange(TOKENS)[None] >= jnp.arange(2, 2 + ROWS)[:, None] if padding else None
    keys = rng.keys(jax.random.key(1), jnp.arange(ROWS)) if noise else None
    return x_ntd, bias_nhtt, padding_nt, keys


@pytest.mark.parametrize("noise", [False, True])
@pytest.mark.parametrize("padding", [False, True])
@pytest.mark.parametrize("bias", [0, 1, ROWS])
@pytest.mark.parametrize("parts", [2, 8, 12])  # 12 parts do not divide eight rows: four
def test_parts_are_the_whole(parts, bias, padding, noise):
    x_ntd, bias_nhtt, padding_nt, keys = arguments(bias, padding, noise)
    whole = Attention(HEADS, "float32", dropout=0.3, relative_grid=(1, 5))
    params = whole.init(jax.random.key(0), x_ntd)
    table = params["params"]["relative"]["table"]
    params["params"]["relative"]["table"] = jax.random.normal(jax.random.key(2), table.shape)

    def loss(module, params, x_ntd, bias_nhtt):
        y_ntd = module.apply(params, x_ntd, bias_nhtt, padding_nt, keys)
        return (y_ntd * jnp.cos(jnp.arange(y_ntd.size).reshape(y_ntd.shape))).sum()

    moved = (0, 1) if bias_nhtt is None else (0, 1, 2)
    both = [
        jax.jit(jax.value_and_grad(lambda *a, m=module: loss(m, *a), moved))(
            params, x_ntd, bias_nhtt
        )
        for module in (whole, dataclasses.replace(whole, parts=parts))
    ]
    for one, other in zip(*map(jax.tree.leaves, both)):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=2e-6)


def test_the_logits_of_a_part_are_all_there_is():
    """And none is kept for the way back."""

    def needs(parts):
        x_ntd = jnp.zeros((16, 128, 32))
        module = Attention(4, "float32", parts=parts)
        params = module.init(jax.random.key(0), x_ntd)
        step = jax.jit(jax.grad(lambda p, x: module.apply(p, x).sum()))
        return step.lower(params, x_ntd).compile().memory_analysis().temp_size_in_bytes

    logits = 16 * 4 * 128 * 128 * 4
    assert needs(1) > 2 * logits
    assert needs(16) < needs(1) - 1.5 * logits


def test_parts_take_rows_of_every_device():
    """Row i is in part i mod parts."""
    seen = []

    def mix(qkv_ntd, *_):
        jax.debug.callback(lambda x: seen.append(np.asarray(x)[:, 0, 0]), qkv_ntd, ordered=True)
        return qkv_ntd[..., :1]

    rows = jnp.arange(6.0)[:, None, None] * jnp.ones((6, 1, 3))
    out = attention.in_parts(mix, 3, rows, None, None, None)
    jax.effects_barrier()
    assert [list(one) for one in seen] == [[0, 3], [1, 4], [2, 5]]
    assert list(out[:, 0, 0]) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("name", ["v1_audio_base", "v2_image_base", "v2_text_base"])
def test_whole_steps_with_parts(name):
    """With dropout, biases, padding and views, to rounding."""
    found = []
    for parts in (1, 4):
        config = systems.small(name, noise=True)
        trunk = dataclasses.replace(config.objective.cfg.trunk, attention_parts=parts)
        config = config.with_sections(trunk=trunk)
        batch = systems.batch(config, 32, pad=3)
        train_step = jax.jit(step.make_train_step(config))
        found.append(train_step(state.create(config), batch)[1])
    for key in ("loss", "grad_norm"):
        np.testing.assert_allclose(found[0][key][0], found[1][key][0], rtol=2e-5)
