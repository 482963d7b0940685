"""Attention of some rows after the others is attention."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import systems

from d2v_jax.common import rng
from d2v_jax.measure import setting
from d2v_jax.measure.program import Program
from d2v_jax.nn import attention, dropout
from d2v_jax.nn.attention import Attention
from d2v_jax.train import state, step
from d2v_jax.train.machine import mesh

ROWS, TOKENS, WIDTH, HEADS = 8, 6, 16, 4


@pytest.fixture(autouse=True)
def accelerator(monkeypatch):
    """Otherwise a CPU takes all rows at once."""
    monkeypatch.setattr(attention, "platform", lambda: "tpu")


def arguments(bias, padding, noise):
    """x, bias_nhtt of that many rows, padding and keys, or None."""
    draw = np.random.default_rng(0).standard_normal
    x_ntd = jnp.asarray(draw((ROWS, TOKENS, WIDTH)), jnp.float32)
    bias_nhtt = jnp.asarray(draw((bias, HEADS, TOKENS, TOKENS)), jnp.float32) if bias else None
    padding_nt = jnp.arange(TOKENS)[None] >= jnp.arange(2, 2 + ROWS)[:, None] if padding else None
    keys = rng.keys(jax.random.key(1), jnp.arange(ROWS)) if noise else None
    return x_ntd, bias_nhtt, padding_nt, keys


def plain(qkv, bias_nhtt, padding_nt, keys, heads, rate):
    """Attention as it is written in books."""
    q, k, v = (x_ntd.reshape(*x_ntd.shape[:2], heads, -1) for x_ntd in qkv)
    logits = jnp.einsum("nthk,nshk->nhts", q * q.shape[-1] ** -0.5, k).astype(jnp.float32)
    logits = logits if bias_nhtt is None else logits + bias_nhtt
    if padding_nt is not None:
        logits = jnp.where(padding_nt[:, None, None], attention.HIDDEN_LOGIT, logits)
    weights = dropout.dropout(jax.nn.softmax(logits), rate, keys).astype(v.dtype)
    return jnp.einsum("nhts,nshk->nthk", weights, v).reshape(qkv[0].shape)


@pytest.mark.parametrize("rate", [0.0, 0.3])
@pytest.mark.parametrize(("heads", "width"), [(4, 1), (4, 9), (6, 3), (5, 6), (1, 20)])
@pytest.mark.parametrize(("dtype", "off"), [("float32", 2e-6), ("bfloat16", 2e-2)])
def test_attention_is_what_books_say(dtype, off, heads, width, rate):
    """There and back; heads of more numbers than there are tokens, of fewer, of far fewer."""
    draw = np.random.default_rng(0).standard_normal
    qkv = tuple(jnp.asarray(draw((3, ROWS, TOKENS + 2, heads * width)), dtype))
    bias_nhtt = jnp.asarray(draw((1, heads, TOKENS + 2, TOKENS + 2)), jnp.float32)
    _, _, padding_nt, keys = arguments(0, True, True)
    padding_nt = jnp.pad(padding_nt, ((0, 0), (0, 2)), constant_values=True).at[0].set(True)
    d_ntd = jnp.asarray(draw((ROWS, TOKENS + 2, heads * width)), dtype)
    # Five heads make no quarters of equal size: theirs are drawn in another order.
    rate = rate if heads != 5 else 0.0
    found = []
    for one in (plain, attention.attend):
        y, back = jax.vjp(lambda *a, f=one: f(*a, padding_nt, keys, heads, rate), qkv, bias_nhtt)
        found.append(jax.tree.leaves([y, back(d_ntd)]))
    for one, other in zip(*found):
        one, other = np.asarray(one, np.float32), np.asarray(other, np.float32)
        assert np.abs(one).max() > 0.1
        assert np.abs(one - other).max() < off * np.abs(one).max()


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


@pytest.mark.parametrize("parts", [1, 4])
def test_parts_keep_what_was_drawn_and_no_logits(parts):
    x_ntd, _, padding_nt, keys = arguments(0, True, True)
    module = Attention(HEADS, "float32", dropout=0.3, parts=parts)
    params = module.init(jax.random.key(0), x_ntd)
    forwards = lambda params, x: module.apply(params, x, None, padding_nt, keys)
    back = jax.vjp(forwards, params, x_ntd)
    square = [x for x in jax.tree.leaves(back[1]) if x.shape[-2:] == (TOKENS, TOKENS)]
    bits = {jnp.dtype(bool): 1, jnp.dtype(jnp.uint8): dropout.QUARTERS}
    drawn = [x for x in square if x.dtype in bits]
    assert sum(x.size * bits[x.dtype] for x in drawn) >= ROWS * HEADS * TOKENS**2
    assert (len(drawn) < len(square)) == (parts == 1)
    both_ways = jax.grad(lambda params, x: forwards(params, x).sum())
    assert str(jax.make_jaxpr(both_ways)(params, x_ntd)).count("optimization_barrier") == parts


def test_every_device_takes_its_own_rows():
    """Two devices, rows 0 to 5 on the first: no part has rows that must travel."""
    seen = []

    def mix(qkv, *_):
        jax.debug.callback(lambda x: seen.append(np.asarray(x)[:, 0, 0]), qkv[0], ordered=True)
        return qkv[0]

    rows = jnp.arange(12.0)[:, None, None] * jnp.ones((12, 1, 1))
    grid = mesh.make_mesh("data:2", jax.devices()[:2])
    with jax.sharding.use_abstract_mesh(grid.abstract_mesh):
        out = attention.in_parts(mix, 3, (rows,) * 3, None, None, None)
    jax.effects_barrier()
    assert [list(one) for one in seen] == [[0, 1, 6, 7], [2, 3, 8, 9], [4, 5, 10, 11]]
    assert list(out[:, 0, 0]) == list(range(12))


def test_parts_bring_no_messages_between_devices():
    told = []
    for parts in (1, 2):
        config = systems.small("v2_text_base", noise=True)
        trunk = dataclasses.replace(config.objective.cfg.trunk, attention_parts=parts)
        train = dataclasses.replace(config.train, batch_size=32)
        config = dataclasses.replace(config.with_sections(trunk=trunk), train=train)
        program = Program(setting.Setting(config).lower().compile().as_text())
        told.append([(one.opcode, one.bytes) for one in program.collectives()])
    assert len(jax.devices()) == 8 and told[0] and sorted(told[0]) == sorted(told[1])


@pytest.mark.parametrize(
    "name", ["v1_audio_base", "v1_image_base", "v2_image_base", "v2_text_base"]
)
def test_whole_steps_with_parts(name):
    """With dropout, biases, padding and views, to rounding."""
    found = []
    for parts in (1, 2):
        config = systems.small(name, noise=True)
        trunk = dataclasses.replace(config.objective.cfg.trunk, attention_parts=parts)
        config = config.with_sections(trunk=trunk)
        batch = systems.batch(config, 32, pad=3)
        train_step = jax.jit(step.make_train_step(config))
        found.append(train_step(state.create(config), batch)[1])
    for key in ("loss", "grad_norm"):
        np.testing.assert_allclose(found[0][key][0], found[1][key][0], rtol=2e-5)


def test_a_cpu_takes_rows_whole(monkeypatch):
    monkeypatch.undo()
    seen = set()

    def rows_at_once(grid):
        seen.clear()
        with jax.sharding.use_abstract_mesh(grid):
            attention.in_parts(note, 2, (jnp.zeros((8, 2, 3)),) * 3, None, None, None)
        return set(seen)

    def note(qkv, *_):
        seen.add(len(qkv[0]))
        return qkv[0]

    grid = mesh.make_mesh("data:2", jax.devices()[:2]).abstract_mesh
    tpu = jax.sharding.AbstractDevice("TPU v5 lite", None, "tpu")
    assert rows_at_once(jax.sharding.AbstractMesh((), ())) == {8}
    assert rows_at_once(grid) == {8}
    assert rows_at_once(grid.update(abstract_device=tpu)) == {4}
