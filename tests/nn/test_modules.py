"""Building blocks against numbers worked out elsewhere."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from d2v_jax.common import rng
from d2v_jax.frontends import audio, text
from d2v_jax.nn import (
    activation,
    block,
    conv,
    dense,
    dropout,
    initializers,
    norm,
    positions,
    trunk,
)
from d2v_jax.nn.attention import Attention


def keys(count, seed=0):
    return rng.keys(rng.stream(seed, "test"), jnp.arange(count))


def test_sincos_spot_values():
    """REFERENCE §17: D=16, grid 4, the token in row 0, column 1."""
    code = positions.sincos((4, 4), 16)[1]
    first = [0.8415, 0.0998, 0.0100, 0.0010, 0.5403, 0.9950, 1.0, 1.0]
    np.testing.assert_allclose(code[:8], first, atol=1e-4)
    np.testing.assert_allclose(code[8:], [0, 0, 0, 0, 1, 1, 1, 1], atol=1e-6)


def test_alibi_slopes_of_any_head_count():
    """REFERENCE §1.5, §17."""
    twelve = [2.0**-i for i in range(1, 9)] + [0.707107, 0.353553, 0.176777, 0.0883883]
    np.testing.assert_allclose(positions.alibi_slopes(12), twelve, rtol=1e-5)
    sixteen = [2.0 ** (-0.5 * (h + 1)) for h in range(16)]
    np.testing.assert_allclose(positions.alibi_slopes(16), sixteen, rtol=1e-6)
    assert len(positions.alibi_slopes(5)) == 5


def test_alibi_keeps_true_distances_and_leaves_prefix_alone():
    scale_h = jnp.array([2.0, -1.0])
    bias = jax.jit(positions.alibi, static_argnums=2)(scale_h, jnp.array([[0, 3, 7]]), 1)
    assert bias.shape == (1, 2, 4, 4)
    slope = positions.alibi_slopes(2)[0]
    distance = np.abs(np.subtract.outer([0, 3, 7], [0, 3, 7]))
    np.testing.assert_allclose(bias[0, 0, 1:, 1:], -2 * slope * distance, rtol=1e-6)
    assert (bias[0, :, 0] == 0).all() and (bias[0, :, :, 0] == 0).all()
    assert (bias[0, 1] == 0).all(), "a negative scale counts as 0"
    gradient = jax.grad(lambda s: positions.alibi(s, jnp.array([[0, 3]]), 0).sum())(scale_h)
    assert gradient[0] != 0 and gradient[1] == 0


def test_relative_index_spot_values():
    """REFERENCE §1.7, §17."""
    index = positions.relative_index((14, 14))
    patches = index[1:, 1:]
    found = [patches[0, 0], patches[0, 1], patches[1, 0], patches[0, 195], patches[195, 0]]
    assert found == [364, 363, 365, 0, 728]
    assert (index[0, 1:] == 729).all() and (index[1:, 0] == 730).all() and index[0, 0] == 731


@pytest.mark.parametrize(("window", "groups"), [((3, 3), 4), ((5, 4), 1), ((7,), 2), ((6,), 8)])
def test_grouped_conv_equals_torch_padding(window, groups):
    space = (6, 7)[: len(window)]
    x = jax.random.normal(jax.random.key(0), (2, *space, 8))
    kernel = jax.random.normal(jax.random.key(1), (*window, 8 // groups, 16))
    letters = "xy"[: len(window)]
    whole = jax.lax.conv_general_dilated(
        x,
        kernel,
        (1,) * len(window),
        [(k // 2, k // 2) for k in window],
        feature_group_count=groups,
        dimension_numbers=(f"N{letters}C", f"{letters}IO", f"N{letters}C"),
    )
    trimmed = whole[(slice(None), *(slice(0, size) for size in space))]
    ours = jax.jit(lambda *a: conv.grouped_conv(*a, groups))(x, kernel)
    np.testing.assert_allclose(ours, trimmed, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_gelu_is_the_exact_one(dtype):
    x = jnp.linspace(-9, 9, 2001).astype(dtype)
    wide = np.asarray(x, np.float64)
    normal = np.array([0.5 * math.erfc(-each / math.sqrt(2)) for each in wide])
    slope = normal + wide * np.exp(-(wide**2) / 2) / math.sqrt(2 * math.pi)
    near = {"float32": 1e-6, "bfloat16": 2**-8}[dtype]
    y, pull = jax.jit(lambda x: jax.vjp(activation.gelu, x))(x)
    np.testing.assert_allclose(y.astype(float), wide * normal, rtol=near, atol=1e-6)
    np.testing.assert_allclose(pull(jnp.ones_like(x))[0].astype(float), slope, rtol=near, atol=1e-6)
    assert y.dtype == dtype


def test_standardize_is_accurate_far_from_zero():
    x = 1000 + jax.random.normal(jax.random.key(0), (4, 64))
    exact = np.asarray(x, np.float64)
    exact = (exact - exact.mean(-1, keepdims=True)) / np.sqrt(exact.var(-1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(norm.standardize(x, -1), exact, atol=2e-3)
    assert norm.standardize(x.astype(jnp.bfloat16), -1).dtype == jnp.float32


def test_dropout_scales_and_belongs_to_the_row():
    x = jnp.ones((4, 50, 40))
    out = np.asarray(dropout.dropout(x, 0.3, keys(4)))
    zero, kept = np.unique(out)
    assert zero == 0 and kept == pytest.approx(1 / 0.7, rel=2**-15)
    assert abs((out == 0).mean() - 0.3) < 0.02
    whole = np.asarray(dropout.dropout(jnp.ones((4, 52, 40)), 0.3, keys(4)))
    quarters = whole.swapaxes(0, 1).reshape(4, -1)  # share what the generator makes at a time
    assert abs(np.corrcoef(quarters) - np.eye(4)).max() < 0.07
    assert abs((quarters == 0).mean(1) - 0.3).max() < 0.03
    np.testing.assert_array_equal(whole[:, :50], out)  # what is too much is left out
    odd = np.asarray(dropout.dropout(x[:, :7], 0.3, keys(4)))
    assert odd.shape == (4, 7, 40) and (odd == 0).any()
    assert (out[0] != out[1]).any()
    alone = rng.Keys(keys(4).all, keys(4).each_n[2:3])
    np.testing.assert_array_equal(dropout.dropout(x[2:3], 0.3, alone)[0], out[2])
    assert dropout.dropout(x, 0.3, None) is x and dropout.dropout(x, 0.0, keys(4)) is x


def test_drop_path_drops_whole_rows():
    out = np.asarray(dropout.drop_path(jnp.ones((400, 3, 2)), 0.25, keys(400)))
    flat = out.reshape(400, -1)
    assert (flat == flat[:, :1]).all()
    assert abs((flat[:, 0] == 0).mean() - 0.25) < 0.07 and flat.max() == np.float32(1 / 0.75)


def test_layer_drop_is_one_draw_for_the_batch_and_skips_the_residual():
    x, layer = jnp.zeros((3, 2, 2)), block.Layer(jnp.ones((3, 2, 2)), jnp.ones((3, 2, 2)))
    outs = [np.asarray(block.skipped(layer, x, 0.5, keys(3, seed)).out) for seed in range(40)]
    assert all((out == out.flat[0]).all() for out in outs)
    assert 8 < sum(out.flat[0] == 0 for out in outs) < 32
    assert block.skipped(layer, x, 0.5, None) is layer


@pytest.fixture(scope="module")
def stack():
    spec = block.BlockSpec("post_norm", 4, 32, 1e-5, "float32", 0.2, 0.2)
    module = trunk.Trunk(spec, 3, "input", 0.2, (0.0, 0.2), 0.2)
    x = jax.random.normal(jax.random.key(1), (2, 6, 16))
    return module, module.init(jax.random.key(0), x), x


def test_noise_acts_only_with_keys(stack):
    module, params, x = stack
    run = jax.jit(lambda keys: module.apply(params, x, None, None, keys).out)
    still = module.apply(params, x).out
    np.testing.assert_allclose(module.apply(params, x, None, None, None).out, still)
    assert np.abs(run(keys(2)) - still).max() > 0.1
    assert np.abs(run(keys(2)) - run(keys(2, 1))).max() > 0.1
    np.testing.assert_array_equal(run(keys(2)), run(keys(2)))


def test_padding_reaches_nobody(stack):
    module, params, x = stack
    padding = jnp.array([[False] * 4 + [True] * 2, [True] * 6])
    run = jax.jit(lambda x: module.apply(params, x, None, padding).out)
    other = x.at[0, 4:].add(10.0)
    np.testing.assert_array_equal(run(x)[0, :4], run(other)[0, :4])
    gradient = jax.grad(lambda x: run(x).sum())(x)
    assert np.isfinite(run(x)).all() and np.isfinite(gradient).all()
    short = module.apply(params, x[:1, :4]).out
    np.testing.assert_allclose(run(x)[0, :4], short[0], rtol=1e-5, atol=1e-5)


def test_attention_without_key_bias_and_with_its_own_table():
    module = Attention(4, "float32", key_bias=False, relative_grid=(2, 2))
    x = jax.random.normal(jax.random.key(1), (1, 5, 8))
    params = module.init(jax.random.key(0), x)["params"]
    assert set(params) == {"qkv", "out", "q_bias", "v_bias", "relative"}
    assert "bias" not in params["qkv"] and params["relative"]["table"].shape == (12, 4)
    moved = {**params, "relative": {"table": params["relative"]["table"].at[0].set(5.0)}}
    assert np.abs(module.apply({"params": moved}, x) - module.apply({"params": params}, x)).max()


def test_conv_positions_do_not_feel_padding():
    module = positions.ConvPositions(5, 19, 4, "float32")
    x = 4 * jax.random.normal(jax.random.key(1), (1, 50, 16))
    params = module.init(jax.random.key(0), x)
    padding = (jnp.arange(50) >= 33)[None]
    padded = jax.jit(module.apply)(params, x, padding)[:, :33]
    alone = module.apply(params, x[:, :33])
    np.testing.assert_allclose(padded, alone, atol=1e-5)
    assert np.abs(module.apply(params, x)[:, :33] - alone).max() > 0.1


@pytest.mark.parametrize(
    ("samples", "frames"),
    [
        (32_000, 99),
        (160_000, 499),
        (250_000, 781),
        (320_000, 999),
        (11_520, 35),
        (399, 0),
        (400, 1),
        (5, 0),
    ],
)
def test_frames(samples, frames):
    """REFERENCE §1.1."""
    layers = ((512, 10, 5), *((512, 3, 2),) * 4, *((512, 2, 2),) * 2)
    assert audio.frame_count(samples, layers) == frames
    assert jax.jit(lambda s: audio.frame_count(s, layers))(jnp.array([samples]))[0] == frames


def test_text_positions_count_what_is_not_padding():
    cfg = text.TextFrontend(20, "learned", 8, 0, 1, 19, 1e-5, 0.0)
    module = cfg.build(8, "float32", "bert")
    ids = jnp.array([[0, 5, 6, 1, 1], [0, 5, 6, 1, 7]])
    params = module.init(jax.random.key(0), ids)
    assert params["params"]["positions"]["embedding"].shape == (10, 8)
    out = module.apply(params, ids)
    # The token after a gap of padding takes the next position, 5 = pad_id + 4.
    direct = module.apply(params, jnp.array([[0, 5, 6, 7]]))
    np.testing.assert_allclose(out[1, 4], direct[0, 3], rtol=1e-6)


def test_text_without_positions():
    cfg = text.TextFrontend(20, "none", 8, 0, 1, 19, 1e-5, 0.0)
    module = cfg.build(8, "float32", "bert")
    ids = jnp.array([[0, 5, 6, 5]])
    params = module.init(jax.random.key(0), ids)
    assert params["params"].keys() == {"tokens", "norm"}
    out = module.apply(params, ids)
    assert (out[0, 1] == out[0, 3]).all() and (out[0, 1] != out[0, 2]).any()


def test_the_row_of_padding_is_never_learned():
    cfg = text.TextFrontend(20, "learned", 8, 0, 1, 19, 1e-5, 0.0)
    module = cfg.build(8, "float32", "bert")
    ids = jnp.array([[0, 5, 1, 1]])
    params = module.init(jax.random.key(0), ids)
    loss = lambda p: (module.apply(p, ids) ** 3).sum()
    gradient = jax.grad(loss)(params)["params"]
    for table in ("tokens", "positions"):
        assert (params["params"][table]["embedding"][1] == 0).all()
        assert (gradient[table]["embedding"][1] == 0).all()
        assert np.abs(gradient[table]["embedding"]).max() > 0


def test_initial_values():
    """REFERENCE §6.2, §17."""
    key = jax.random.key(0)
    beit = initializers.NAMED["beit"](key, (400, 400))
    np.testing.assert_allclose(beit.std(), 0.0108, rtol=0.01)
    assert np.abs(beit).max() <= 0.02
    assert abs(initializers.NAMED["bert"](key, (400, 400)).std() - 0.02) < 2e-4
    for fan_in, std in ((10, 0.4472), (512 * 3, 0.0361), (512 * 2, 0.0442)):
        np.testing.assert_allclose(
            initializers.kaiming_normal(fan_in)(key, (400, 400)).std(), std, rtol=0.01
        )
    spec = block.BlockSpec("pre_norm", 2, 32, 1e-6, "float32", layer_scale=1e-4, init="beit")
    for number in (0, 2):
        module = block.Block(spec, number)
        params = module.init(key, jnp.zeros((1, 2, 256)))["params"]
        expected = 0.0108 / np.sqrt(2 * (number + 1))
        for kernel in (params["attention"]["out"], params["mlp"]["fc2"]):
            np.testing.assert_allclose(kernel["kernel"].std(), expected, rtol=0.03)
        np.testing.assert_allclose(params["mlp"]["fc1"]["kernel"].std(), 0.0108, rtol=0.03)
        assert (params["gamma1"] == np.float32(1e-4)).all()


@pytest.mark.parametrize("on", ["tpu", "cpu"])
@pytest.mark.parametrize("use_bias", [False, True])
def test_columns_are_those_of_the_whole(monkeypatch, on, use_bias):
    monkeypatch.setattr(dense, "platform", lambda: on)
    layer = dense.Dense(12, use_bias, bias_init=jax.nn.initializers.normal())
    x_ntd = jax.random.normal(jax.random.key(0), (2, 5, 8))
    params = layer.init(jax.random.key(1), x_ntd)
    apart = lambda params: layer.apply(params, x_ntd, 3, method="columns")
    assert [y.shape for y in apart(params)] == [(2, 5, 4)] * 3
    whole = lambda params: layer.apply(params, x_ntd)
    joined = lambda params: jnp.concatenate(apart(params), -1)
    np.testing.assert_allclose(joined(params), whole(params), rtol=1e-5, atol=1e-6)
    grads = [jax.grad(lambda p, f=f: jnp.sin(f(p)).sum())(params) for f in (whole, joined)]
    for one, other in zip(*map(jax.tree.leaves, grads)):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
    count = lambda f, *at: str(jax.make_jaxpr(f)(*at)).count("product=Linear")
    ways = 3 if on == "tpu" else 1
    assert count(apart, params) == ways
    # There and back; the kernel's gradient is one product either way.
    total = lambda p, x: sum(jnp.sin(y).sum() for y in layer.apply(p, x, 3, method="columns"))
    assert count(jax.grad(total, (0, 1)), params, x_ntd) == ways + ways + 1
