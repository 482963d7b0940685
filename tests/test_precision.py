"""What must stay float32 is not rounded on the way: programs for TPU and CUDA, read as they are.

With `trunk.dtype=bfloat16` every product that a recipe allows to be rounded has bfloat16 operands.
One that has a float32 operand and default precision carries something that was promised float32
(targets, losses, statistics, features), and accelerators would round it to bfloat16 or TF32.
"""

import functools
import pathlib
import re

import jax
import jax.numpy as jnp
import pytest
import systems

from d2v_jax.frontends.frontend import Inputs
from d2v_jax.measure.setting import abstract_batch
from d2v_jax.supervised import heads
from d2v_jax.train import state, step
from d2v_jax.train.recipe import resolve as recipes
from d2v_jax.transfer import encoder

FOLDER = pathlib.Path(__file__).parents[1] / "configs"
# Those with labels take their encoder from a checkpoint: tests/supervised.
RECIPES = sorted(p.stem for p in FOLDER.glob("*_*.py") if not p.stem.startswith(("_", "finetune")))
PLATFORMS = ("tpu", "cuda")
PRODUCT = re.compile(r"stablehlo\.(dot_general|convolution|dot)\b")
EXACT = re.compile(r"HIGHEST")


def rounded(traced, platform: str) -> list[str]:
    """The products of a program that an accelerator would round though an operand is float32."""
    text = traced.lower(lowering_platforms=(platform,)).as_text()
    found = []
    for line in text.splitlines():
        if PRODUCT.search(line) and not EXACT.search(line):
            operands = line[line.rindex(" : (") :].partition("->")[0]
            if "xf32>" in operands or "<f32>" in operands:
                found.append(line.strip())
    return found


def half(name: str):
    return recipes.resolve(recipes.load(f"{name}:smoke", ["--config.trunk.dtype=bfloat16"]))


@pytest.mark.parametrize("name", RECIPES)
def test_steps_round_nothing_but_what_the_recipe_allows(name):
    config = half(name)
    shapes = jax.eval_shape(lambda: state.create(config))
    batch = abstract_batch(config, config.data.example_shape, 2)
    traced = jax.jit(step.make_train_step(config)).trace(shapes, batch)
    for platform in PLATFORMS:
        assert rounded(traced, platform) == [], platform


@functools.cache
def opened(name: str) -> encoder.Encoder:
    config = half(name)
    params = jax.eval_shape(lambda: state.create(config)).params
    return encoder.Encoder(config, params, None, None, 0)


@pytest.mark.parametrize("pool", ["mean", None])
@pytest.mark.parametrize("name", systems.NAMES)
def test_features_are_float32(name, pool):
    one = opened(name)
    shape = (2, *one.recipe.data.example_shape)
    values = jax.ShapeDtypeStruct(shape, one.config.frontend.dtype)
    for layer in ("last", "average", "all"):
        traced = encoder._features.trace(
            one.config, one.params, Inputs(values), layer=layer, pool=pool
        )
        for platform in PLATFORMS:
            assert rounded(traced, platform) == [], (layer, platform)


@pytest.mark.parametrize("kind", heads.KINDS)
def test_heads_are_float32(kind):
    matrix = {"kernel": jnp.ones((8, 8)), "bias": jnp.zeros(8)}
    norm = {"scale": jnp.ones(8), "bias": jnp.zeros(8)}
    params = {"out": matrix, "dense": matrix, "norm": norm}
    params |= {"kv": {"kernel": jnp.ones((8, 16)), "bias": jnp.zeros(16)}, "proj": matrix}
    params |= {"query": jnp.ones((2, 4))}
    out_npd = jax.ShapeDtypeStruct((2, 5, 8), jnp.bfloat16)
    about = {"kind": kind, "norm_eps": 1e-5}
    traced = jax.jit(
        lambda params, out: heads.apply({**about, "params": params}, out, 1, None)
    ).trace(params, out_npd)
    for platform in PLATFORMS:
        assert rounded(traced, platform) == [], platform


def test_the_reading_finds_what_is_rounded():
    """A product of float32 at default precision, and no other."""
    x = jnp.ones((4, 4))
    bad = jax.jit(lambda a, b: a @ b).trace(x, x)
    assert len(rounded(bad, "tpu")) == len(rounded(bad, "cuda")) == 1
    mixed = jax.jit(lambda a, b: jnp.matmul(a, b, precision="highest")).trace(x, x)
    small = jax.jit(lambda a, b: a @ b).trace(x.astype("bfloat16"), x.astype("bfloat16"))
    assert rounded(mixed, "tpu") == rounded(small, "cuda") == []
