"""Attention by cuDNN's kernel: when, with which program, and that its arguments mean the same."""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import systems
from jax.sharding import AbstractDevice, AbstractMesh, AxisType

from d2v_jax.common import rng
from d2v_jax.measure.setting import abstract_batch
from d2v_jax.nn import attention, fused, layout
from d2v_jax.train import state, step
from d2v_jax.train.machine import mesh

ROWS, WIDTH, HEADS = 8, 32, 4
H100 = AbstractDevice("NVIDIA H100 80GB HBM3", None, "gpu")
TPU = AbstractDevice("TPU v5 lite", None, "tpu")


def one_of(device, count=1):
    return AbstractMesh((count, 1), mesh.AXES, (AxisType.Auto,) * 2, abstract_device=device)


@pytest.fixture
def cudnn(monkeypatch):
    """As if it were installed: JAX asks for its version when a program is traced."""
    from jax._src.cudnn import fused_attention_stablehlo

    monkeypatch.setattr(fused_attention_stablehlo, "check_cudnn_version", lambda: 91_000)


def arguments(tokens, bias, padding, dtype="float32"):
    """qkv, bias_nhtt of that many rows and padding, or None; the last row is padding alone."""
    draw = np.random.default_rng(0).standard_normal
    qkv = tuple(jnp.asarray(draw((3, ROWS, tokens, WIDTH)), dtype))
    bias_nhtt = jnp.asarray(draw((bias, HEADS, tokens, tokens)), jnp.float32) if bias else None
    real_n = jnp.array([*range(1, ROWS), 0])
    return qkv, bias_nhtt, jnp.arange(tokens) >= real_n[:, None] if padding else None


EXACT, ROUNDED = ("float32", 2e-6), ("bfloat16", 2e-2)
CASES = [(13, bias, padding, EXACT) for bias in (0, 1, ROWS) for padding in (False, True)]
CASES += [(12, ROWS, True, EXACT), (12, 0, False, EXACT)]
CASES += [(13, 1, True, ROUNDED), (12, 0, False, ROUNDED)]


@pytest.mark.parametrize(("tokens", "bias", "padding", "rounding"), CASES)
def test_the_arguments_mean_the_plain_form(tokens, bias, padding, rounding):
    """By XLA's implementation of the same call on four devices: outputs and gradients, to so
    many times the largest."""
    dtype, near = rounding
    grid = mesh.make_mesh("data:-1", jax.devices()[:4])
    qkv, bias_nhtt, padding_nt = arguments(tokens, bias, padding, dtype)
    qkv, padding_nt = jax.device_put((qkv, padding_nt), mesh.batch_sharding(grid))

    def loss(moved, attend):
        mixed_ntd = attend(*moved, padding_nt).astype(jnp.float32)
        weights_ntd = jnp.cos(jnp.arange(mixed_ntd.size)).reshape(mixed_ntd.shape)
        return (mixed_ntd * weights_ntd).sum(), mixed_ntd

    plain = lambda qkv, bias, padding: attention.attend(qkv, bias, padding, None, HEADS, 0.0)
    kernel = functools.partial(fused.attend, heads=HEADS, implementation="xla")
    found = []
    for attend in (plain, kernel):
        with jax.sharding.use_abstract_mesh(grid.abstract_mesh):
            both = jax.jit(jax.grad(functools.partial(loss, attend=attend), has_aux=True))
            each = jax.tree.leaves(both((qkv, bias_nhtt)))
        found.append([np.asarray(x, np.float32) for x in each])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=near * np.abs(one).max())


@pytest.mark.parametrize(
    ("device", "dtype", "rate", "rows", "serves"),
    [
        (H100, "bfloat16", 0.0, 8, True),
        (H100, "bfloat16", 0.1, 8, False),
        (H100, "float32", 0.0, 8, False),
        (H100, "bfloat16", 0.0, 7, False),  # two devices
        (TPU, "bfloat16", 0.0, 8, False),
        (None, "bfloat16", 0.0, 8, False),
    ],
)
def test_where_it_serves(device, dtype, rate, rows, serves):
    with jax.sharding.use_abstract_mesh(one_of(device, 2)):
        q_ntd = jax.ShapeDtypeStruct((rows, 5, 32), dtype)
        assert fused.serves(q_ntd, rate, layout.platform()) == serves


def recipe(name, **fields):
    config = systems.small(name, noise=True)
    trunk = dataclasses.replace(
        config.objective.cfg.trunk, fused_attention=True, dtype="bfloat16", **fields
    )
    return config.with_sections(trunk=trunk)


def program(config):
    """A step's, for one GPU."""
    shapes = jax.eval_shape(lambda: state.create(config))
    batch = abstract_batch(config, config.data.example_shape, 4)
    with jax.sharding.use_abstract_mesh(one_of(H100)):
        traced = jax.jit(step.make_train_step(config)).trace(shapes, batch)
        return traced.lower(lowering_platforms=("cuda",)).as_text()


def kernels(text):
    return set(re.findall(r"@__cudnn\$fmha(\w+)", text))


BIASED = {"ScaleBiasSoftmax", "ScaleBiasSoftmaxBackward"}
PLAIN = {"Softmax", "SoftmaxBackward"}
# A product that answers with one number for each pair of tokens.
LOGITS = re.compile(r"dot_general .*-> tensor<(?:\d+x)+(\d+)x\1xbf16>")


@pytest.mark.parametrize(
    ("name", "fields", "calls"),
    [
        ("v2_image_base", {"remat": "cheap"}, PLAIN),
        # The teacher's: the student's attention drops weights.
        ("v2_text_base", {"scan": True, "remat": "blocks"}, {"ScaleBiasSoftmax"}),
    ],
)
def test_steps_for_a_gpu_call_the_kernel(name, fields, calls, cudnn):
    text = program(recipe(name, **fields))
    assert kernels(text) == calls
    assert bool(LOGITS.search(text)) == (calls != PLAIN)


def test_several_gpus_each_call_it_for_their_own_rows(cudnn):
    """With a bias of each row and one for all, there and back."""
    for bias, padding in ((1, True), (ROWS, False)):
        qkv, bias_nhtt, padding_nt = arguments(13, bias, padding, "bfloat16")
        loss = lambda qkv, bias, p=padding_nt: fused.attend(qkv, bias, p, HEADS).sum()
        with jax.sharding.use_abstract_mesh(one_of(H100, 4)):
            traced = jax.jit(jax.grad(loss, (0, 1))).trace(qkv, bias_nhtt)
            text = traced.lower(lowering_platforms=("cuda",)).as_text()
        calls = [line for line in text.splitlines() if "@__cudnn" in line]
        assert kernels(text) == BIASED
        assert all("tensor<2x14x4x8xbf16>" in line for line in calls), calls


def test_weights_that_are_dropped_keep_the_plain_form(cudnn):
    module = attention.Attention(HEADS, "bfloat16", dropout=0.1, fused=True)
    x_ntd = jnp.ones((ROWS, 12, WIDTH), jnp.bfloat16)
    params = module.init(jax.random.key(0), x_ntd)
    for keys, found in ((rng.keys(jax.random.key(1), jnp.arange(ROWS)), set()), (None, PLAIN)):
        loss = lambda x, k=keys: module.apply(params, x, None, None, k).astype(jnp.float32).sum()
        with jax.sharding.use_abstract_mesh(one_of(H100)):
            text = jax.jit(jax.grad(loss)).trace(x_ntd).lower(lowering_platforms=("cuda",))
        assert kernels(text.as_text()) == found
