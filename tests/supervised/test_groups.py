"""Who learns how fast, decays or stands still: the papers' tables, and coverage."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import systems

from d2v_jax.common import trees
from d2v_jax.common.checks import ConfigError
from d2v_jax.encoder.network import drop_paths
from d2v_jax.nn.trunk import ramp
from d2v_jax.train import groups, optimizer, state, step
from d2v_jax.train.recipe import resolve


def of(**fields):
    config = systems.smoke("v2_image_base")
    return dataclasses.replace(config.optimizer, **fields)


def rates(prenet, depth, **fields):
    """Path -> factor of a tree with so many blocks."""
    leaf = jnp.zeros(1)
    blocks = lambda n: {f"block_{i:02d}": {"mlp": {"kernel": leaf}} for i in range(n)}
    tree = {
        "frontend": {"patch": {"kernel": leaf}},
        "prefix": {"tokens": leaf},
        "mask": {"embedding": leaf},
        "positions": {"relative": {"table": leaf}},
        "trunk": blocks(depth) | {"norm": {"scale": leaf}},
        "head": {"out": {"kernel": leaf}},
    }
    if prenet:
        tree["prenet"] = blocks(prenet)
    return {path: one.rate for path, one in groups.groups(of(**fields), tree).items()}


def test_layer_decay_of_1():
    """BEiT's ids: embeddings 0, block i i + 1, all else L + 1; decay ** (L + 1 - id) (§12.2)."""
    found = rates(0, 12, layer_decay=0.65, decay_before=True)
    for path in ("frontend/patch/kernel", "prefix/tokens", "mask/embedding"):
        np.testing.assert_allclose(found[path], 0.65**13)
    for i in range(12):
        np.testing.assert_allclose(found[f"trunk/block_{i:02d}/mlp/kernel"], 0.65 ** (12 - i))
    for path in ("positions/relative/table", "trunk/norm/scale", "head/out/kernel"):
        assert found[path] == 1


def test_layer_decay_of_2():
    """Block j of prenet and trunk: decay ** (n - j), everything else 1 (§12.3)."""
    found = rates(2, 10, layer_decay=0.75)
    blocks = [f"prenet/block_{i:02d}" for i in range(2)]
    blocks += [f"trunk/block_{i:02d}" for i in range(10)]
    for j, block in enumerate(blocks):
        np.testing.assert_allclose(found[f"{block}/mlp/kernel"], 0.75 ** (12 - j))
    others = {path for path in found if not path.startswith(tuple(blocks))}
    assert {found[path] for path in others} == {1.0} and len(others) == 6


@pytest.mark.parametrize("ramp_name", ["trunk", "both"])
def test_drop_path(ramp_name):
    """The prenet takes the first entries of the ramp, the trunk goes on to its end (§12.3)."""
    trunk = systems.smoke("v2_image_base").objective.cfg.trunk
    trunk = dataclasses.replace(
        trunk, prenet_depth=2, depth=10, drop_path=0.2, drop_path_ramp=ramp_name
    )
    prenet, main = drop_paths(trunk)
    entries = np.linspace(0, 0.2, 10)
    if ramp_name == "trunk":
        assert prenet == (0, 0)
        np.testing.assert_allclose(ramp(*main, 10), entries)
    else:
        np.testing.assert_allclose(ramp(*prenet, 2), entries[:2])
        np.testing.assert_allclose(ramp(*main, 10), np.linspace(entries[2], entries[9], 10))


def test_the_first_pattern_holds():
    cfg = of(
        frozen=(("head/*", 0), ("trunk/*", 5), ("*", -1)),
        rates=(("head/*", 10.0),),
        decays="matrices",
    )
    params = jax.eval_shape(lambda: state.create(systems.smoke("v2_image_base"))).params
    params["head"] = {"out": {"kernel": jnp.zeros((2, 2)), "bias": jnp.zeros(2)}}
    found = groups.groups(cfg, params)
    assert found["head/out/kernel"] == groups.Group(10.0, True, 0)
    assert found["head/out/bias"] == groups.Group(10.0, False, 0)
    assert found["trunk/block_00/mlp/fc1/kernel"] == groups.Group(1.0, True, 5)
    assert found["frontend/patch/kernel"].still == groups.FOREVER
    assert found.keys() == {path for path, _ in trees.leaves(params)}


def test_a_pattern_that_matches_nothing_is_named():
    params = {"trunk": {"kernel": jnp.zeros(2)}}
    with pytest.raises(ConfigError, match="optimizer.frozen: no parameter matches 'haed/"):
        groups.groups(of(frozen=(("haed/*", 3),)), params)


def test_what_stands_still_does_not_move():
    """Neither by gradients nor by decay; once free it moves as Adam's first steps do."""
    config = systems.small("v2_image_base")
    frozen = (("frontend/*", -1), ("trunk/*", 2))
    opt = dataclasses.replace(config.optimizer, frozen=frozen, warmup_steps=0, weight_decay=0.1)
    config = dataclasses.replace(config, optimizer=opt)
    now = jax.jit(lambda: state.create(config))()
    batch = config.data.noise(config.data.example_shape, 4, config.frontend)
    train_step = jax.jit(step.make_train_step(config))
    before = jax.device_get(now.params)
    moved = []
    for _ in range(3):
        now, _ = train_step(now, batch)
        after = jax.device_get(now.params)
        moved.append({part: not equal(before[part], after[part]) for part in after})
    assert [one["frontend"] for one in moved] == [False, False, False]
    assert [one["trunk"] for one in moved] == [False, False, True]
    assert all(one["decoder"] for one in moved)


def equal(a, b):
    return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b)))


def test_each_group_has_its_schedule():
    """A slower group's rate is a part of the peak's; with `same_end` it ends where that does."""
    config = resolve.resolve(resolve.load("v2_image_base"))
    for same in (False, True):
        opt = dataclasses.replace(
            config.optimizer, layer_decay=0.5, end_share=0.01, same_end=same, weight_decay=0.0
        )
        one = dataclasses.replace(config, optimizer=opt)
        steps, peak = one.train.steps, opt.learning_rate
        end = float(optimizer.learning_rate(one, 0.25)(steps))
        np.testing.assert_allclose(end, peak * 0.01 * (1 if same else 0.25), rtol=1e-4)
        top = float(optimizer.learning_rate(one, 0.25)(opt.warmup_steps))
        np.testing.assert_allclose(top, peak * 0.25, rtol=1e-6)
