"""The compiled step: one trace, the same on 1 and 8 devices, and it learns."""

import dataclasses
import functools

import jax
import numpy as np
import pytest
import systems

from d2v_jax.common import trees
from d2v_jax.common.checks import ConfigError
from d2v_jax.train import loop, state, step
from d2v_jax.train.machine import mesh
from d2v_jax.train.recipe import resolve
from d2v_jax.train.report import metrics

# Compared in two parts: hidden tokens vary in number, or there are views and a cls term.
PARTS = ("v1_audio_base", "v1_text_base", "v2_image_base")
# Compared with blocks computed again, and with the views in two parts.
REMAT = {"v2_audio_base": "blocks", "v2_text_base": "cheap"}
VIEWS = ("v2_audio_base",)
SCAN = ("v1_audio_base", "v1_image_base", "v2_audio_base", "v2_image_base")
# Where parameters, teacher and optimiser are cut as well.
MESHES = {"v1_audio_base": "fsdp:-1", "v2_image_base": "data:2,fsdp:-1", "v2_text_base": "fsdp:-1"}
EXACT = ("loss", "regression", "grad_norm", "hidden_share", "learning_rate", "teacher_decay")


@functools.cache
def start(resolved):
    """The state before the first step, on the host."""
    return jax.device_get(jax.jit(lambda: state.create(resolved))())


@functools.cache
def compiled(resolved, devices, spec):
    """-> (mesh, shardings of the state, step)."""
    grid = mesh.make_mesh(spec, jax.devices()[:devices])
    shardings = mesh.state_sharding(jax.eval_shape(lambda: state.create(resolved)), grid)
    return grid, shardings, step.compile_step(resolved, grid, shardings)


def run(resolved, devices, steps=10, pad=0, spec="data:-1"):
    """-> (losses, final state, number of traces)."""
    grid, shardings, train_step = compiled(resolved, devices, spec)
    split = mesh.batch_sharding(grid)
    cfg = resolved.objective.cfg
    trunk = dataclasses.replace(cfg.trunk, remat="none", scan=False)
    mask = dataclasses.replace(cfg.mask, micro_views=1)
    alike = dataclasses.replace(
        resolved.with_sections(trunk=trunk, mask=mask),
        train=dataclasses.replace(resolved.train, micro_batches=1),
    )
    current = jax.device_put(start(alike), shardings)
    losses = []
    for k in range(steps):
        batch = systems.batch(resolved, resolved.train.batch_size, seed=k, pad=pad)
        current, out = train_step(current, mesh.put(batch, split))
        losses.append(metrics.finalize(jax.device_get(out)))
    return losses, jax.device_get(current), train_step._cache_size()


def assert_same_course(one, other):
    for name in one[0][0]:
        np.testing.assert_allclose(
            [m[name] for m in one[0]],
            [m[name] for m in other[0]],
            rtol=1e-4,
            # A share is one less a quotient of sums over all targets.
            atol=1e-5 if name == "position_share" else 1e-6,
            err_msg=name,
        )
    for tree in ("params", "carried"):
        a, b = (dict(trees.leaves(getattr(each[1], tree))) for each in (one, other))
        for path in a:
            np.testing.assert_allclose(a[path], b[path], rtol=1e-3, atol=1e-4, err_msg=path)


@pytest.mark.parametrize("name", systems.NAMES)
def test_devices_and_parts_of_a_batch_do_not_matter(name):
    """One device, against eight that hold parts of parameters, batches and views."""
    whole = systems.small(name, noise=True)
    whole = dataclasses.replace(
        whole,
        train=dataclasses.replace(whole.train, batch_size=16),
        optimizer=dataclasses.replace(whole.optimizer, warmup_steps=1),
    )
    pad = 9 if whole.modality == "text" else 0
    one = run(whole, 1, 3, pad)
    assert one[1].step == 3 and one[2] == 1
    cfg = whole.objective.cfg
    trunk = dataclasses.replace(cfg.trunk, remat=REMAT.get(name, "none"), scan=name in SCAN)
    mask = dataclasses.replace(cfg.mask, micro_views=1 + (name in VIEWS))
    split = dataclasses.replace(
        whole.with_sections(trunk=trunk, mask=mask),
        train=dataclasses.replace(whole.train, micro_batches=1 + (name in PARTS)),
    )
    eight = run(split, 8, 3, pad, MESHES.get(name, "data:-1"))
    assert eight[2] == 1
    if name in PARTS + VIEWS:  # health is measured in each part alone
        one = [{k: m[k] for k in EXACT} for m in one[0]], *one[1:]
    assert_same_course(one, eight)


def test_two_runs_are_bit_equal(tiny):
    first, _, _ = run(tiny, 1, steps=4)
    second, _, _ = run(tiny, 1, steps=4)
    assert first == second
    other, _, _ = run(dataclasses.replace(tiny, seed=1), 1, steps=1)
    assert other[0]["loss"] != first[0]["loss"]


def test_teacher_follows_after_the_update(tiny):
    # A steep ramp, so that the decay of the step before or after would show.
    follow = tiny.objective.cfg.teacher
    follow = dataclasses.replace(follow, decay_start=0.5, decay_end=0.9, decay_steps=4)
    tiny = tiny.with_sections(teacher=follow)
    before = start(tiny)
    after = run(tiny, 1, steps=2)[1]
    # The first update has rate 0, so only the second moves the student, and the teacher moves
    # with the decay of step 2 towards the student as it is after it.
    decay = follow.decay_start + (follow.decay_end - follow.decay_start) * 2 / follow.decay_steps
    path = "trunk/block_00/mlp/fc1/kernel"
    old, new = (dict(trees.leaves(s.carried))[path] for s in (before, after))
    student = dict(trees.leaves(after.params))[path]
    assert np.abs(student - old).max() > 1e-4
    np.testing.assert_allclose(new - old, (1 - decay) * (student - old), rtol=1e-3, atol=1e-7)


def test_batch_must_divide_among_devices():
    grid = mesh.make_mesh("data:-1")
    with pytest.raises(ConfigError, match="batch_size=12 cannot be divided among 8 devices; use"):
        mesh.check_batch((12,), 1, grid)
    with pytest.raises(ConfigError, match="micro_batches=8 makes parts of 12 .*micro_batches=4 or"):
        mesh.check_batch((96,), 8, grid)
    mesh.check_batch((96,), 4, grid)


def test_bfloat16_stays_close(tiny):
    trunk = dataclasses.replace(tiny.objective.cfg.trunk, dtype="bfloat16")
    half = tiny.with_sections(trunk=trunk)
    a, b = run(tiny, 1, steps=2)[0], run(half, 1, steps=2)[0]
    np.testing.assert_allclose(a[0]["loss"], b[0]["loss"], rtol=0.02)
    assert a[0]["loss"] != b[0]["loss"]
    resolved = resolve.resolve(resolve.load("v2_image_base"))
    assert resolved.objective.cfg.trunk.dtype == "bfloat16"


def test_an_update_that_is_not_finite_is_skipped(tiny):
    """Nothing but `step` moves, and the first bad leaf is named."""
    before = start(tiny)
    path = "trunk/block_00/mlp/fc1/kernel"
    leaves = dict(trees.leaves(before.params))
    leaves[path] = np.full_like(leaves[path], np.inf)
    grid, shardings, train_step = compiled(tiny, 1, "data:-1")
    batch = mesh.put(systems.batch(tiny, tiny.train.batch_size), mesh.batch_sharding(grid))
    broken = before.replace(params=trees.from_leaves(leaves))
    after, out = jax.device_get(train_step(jax.device_put(broken, shardings), batch))
    assert after.step == 1 and out["bad_leaf"][0] >= 0
    for one, other in zip(jax.tree.leaves(after.replace(step=0)), jax.tree.leaves(broken)):
        np.testing.assert_array_equal(one, other)
    out = jax.device_get(train_step(jax.device_put(before, shardings), batch)[1])
    assert out["bad_leaf"][0] == -1 and np.isfinite(out["loss"][0])


def test_the_first_bad_leaf():
    tree = {"b": {"x": np.ones(3)}, "a": np.ones(2)}  # in sorted order: a, b/x
    assert step.finite_norm(tree, 1.0)[1] == -1
    np.testing.assert_allclose(step.finite_norm(tree, 1.0)[0], 5**0.5, rtol=1e-6)
    assert step.finite_norm(tree, np.nan)[1] == 2
    tree["b"]["x"][1] = np.inf
    assert step.finite_norm(tree, np.nan)[1] == 1


def test_a_guard_counts_in_a_row(caplog):
    guard = loop.Guard(["a", "b/x"], most=2)
    for number, bad in enumerate([-1, 1, -1, 2, 0]):
        assert not guard.full
        guard.look(number, bad)
    assert guard.full and guard.skipped == 3
    words = [record.getMessage() for record in caplog.records]
    assert words[0].startswith("step 1: the gradient of b/x is not finite")
    assert words[1].startswith("step 3: the loss is not finite")
