"""The compiled step: one trace, the same on 1 and 8 devices, and it learns."""

import dataclasses

import jax
import numpy as np
import pytest

from d2v_jax.common import trees
from d2v_jax.common.checks import ConfigError
from d2v_jax.train import config, mesh, metrics, state, step


def run(resolved, devices, steps=10):
    """-> (losses, final state, number of traces)."""
    grid = mesh.make_mesh(jax.devices()[:devices])
    whole, split = mesh.replicated(grid), mesh.batch_sharding(grid)
    current = jax.jit(lambda: state.create(resolved), out_shardings=whole)()
    train_step = step.compile_step(resolved, grid)
    side, size = resolved.data.image_size, resolved.train.batch_size
    losses = []
    for k in range(steps):
        rng = np.random.default_rng(k)
        pixels = rng.integers(0, 256, (size, side, side, resolved.data.channels), dtype=np.uint8)
        batch = {"inputs": pixels, "example_id": np.arange(size, dtype=np.int32) + k * size}
        current, out = train_step(current, mesh.put(batch, split))
        losses.append(metrics.finalize(jax.device_get(out)))
    return losses, jax.device_get(current), train_step._cache_size()


def test_one_and_eight_devices_agree_with_one_trace(tiny):
    one, state_one, traces_one = run(tiny, 1)
    eight, state_eight, traces_eight = run(tiny, 8)
    assert traces_one == traces_eight == 1
    for name in one[0]:
        np.testing.assert_allclose(
            [m[name] for m in one], [m[name] for m in eight], rtol=1e-4, atol=1e-6, err_msg=name
        )
    assert state_one.step == 10
    a, b = dict(trees.leaves(state_one.teacher)), dict(trees.leaves(state_eight.teacher))
    for path in a:
        np.testing.assert_allclose(a[path], b[path], rtol=1e-3, atol=1e-4, err_msg=path)


def test_two_runs_are_bit_equal(tiny):
    first, _, _ = run(tiny, 1, steps=4)
    second, _, _ = run(tiny, 1, steps=4)
    assert first == second
    other, _, _ = run(dataclasses.replace(tiny, seed=1), 1, steps=1)
    assert other[0]["loss"] != first[0]["loss"]


def test_teacher_follows_after_the_update(tiny):
    # A steep ramp, so that the decay of the step before or after would show.
    follow = dataclasses.replace(
        tiny.model.teacher, decay_start=0.5, decay_end=0.9, decay_steps=4
    )
    tiny = dataclasses.replace(tiny, model=dataclasses.replace(tiny.model, teacher=follow))
    before = jax.device_get(state.create(tiny))
    after = run(tiny, 1, steps=2)[1]
    # The first update has rate 0, so only the second moves the student, and the teacher moves
    # with the decay of step 2 towards the student as it is after it.
    decay = follow.decay_start + (follow.decay_end - follow.decay_start) * 2 / follow.decay_steps
    path = "trunk/block_00/mlp/fc1/kernel"
    old, new = (dict(trees.leaves(s.teacher))[path] for s in (before, after))
    student = dict(trees.leaves(after.student))[path]
    assert np.abs(student - old).max() > 1e-4
    np.testing.assert_allclose(new - old, (1 - decay) * (student - old), rtol=1e-3, atol=1e-7)


def test_batch_must_divide_among_devices():
    grid = mesh.make_mesh()
    with pytest.raises(ConfigError, match="batch_size=12 cannot be divided among 8 devices; use"):
        mesh.check_batch(12, grid)


def test_bfloat16_stays_close(tiny):
    trunk = dataclasses.replace(tiny.model.trunk, dtype="bfloat16")
    half = dataclasses.replace(tiny, model=dataclasses.replace(tiny.model, trunk=trunk))
    a, b = run(tiny, 1, steps=2)[0], run(half, 1, steps=2)[0]
    np.testing.assert_allclose(a[0]["loss"], b[0]["loss"], rtol=0.02)
    assert a[0]["loss"] != b[0]["loss"]
    resolved = config.resolve(config.load("v2_image_base"))
    assert resolved.model.trunk.dtype == "bfloat16"
