"""The siblings' step: one trace, and the same course on one device and on eight."""

import dataclasses

import jax
import numpy as np
import pytest
import systems

from d2v_jax.common import trees
from d2v_jax.train import state, step
from d2v_jax.train.machine import mesh
from d2v_jax.train.report import metrics

MESHES = {"hubert_base": "data:2,fsdp:-1", "bert_base": "fsdp:-1"}
UNITS = 20


def small(name: str):
    config = systems.smoke(name)
    trunk = dataclasses.replace(config.objective.cfg.trunk, depth=2)
    data = config.data
    if config.modality == "audio":
        data = dataclasses.replace(data, samples=8_000)
    optimizer = dataclasses.replace(config.optimizer, warmup_steps=1)
    train = dataclasses.replace(config.train, batch_size=16)
    config = config.with_sections(trunk=trunk)
    return dataclasses.replace(config, data=data, optimizer=optimizer, train=train)


def batch(config, seed: int) -> dict[str, np.ndarray]:
    size, shape = config.train.batch_size, config.data.example_shape
    found = config.data.noise(shape, size, config.frontend, seed)
    found["example_id"] += 100 * seed
    if "units" in found:
        rng = np.random.default_rng(seed)
        found["units"] = rng.integers(-1, UNITS, found["units"].shape, np.int32)
    return found


def course(config, devices: int, spec: str, first):
    """-> (metrics of three steps, trained parameters)."""
    grid = mesh.make_mesh(spec, jax.devices()[:devices])
    shardings = mesh.state_sharding(jax.eval_shape(lambda: state.create(config)), grid)
    train_step = step.compile_step(config, grid, shardings)
    current, found = jax.device_put(first, shardings), []
    for seed in range(3):
        ready = mesh.put(batch(config, seed), mesh.batch_sharding(grid))
        current, out = train_step(current, ready)
        found.append(metrics.finalize(jax.device_get(out)))
    assert train_step._cache_size() == 1
    return found, dict(trees.leaves(jax.device_get(current.params)))


@pytest.mark.slow
@pytest.mark.parametrize("name", systems.SIBLINGS)
def test_devices_do_not_matter(name):
    config = small(name)
    first = jax.device_get(jax.jit(lambda: state.create(config))())
    one, params = course(config, 1, "data:-1", first)
    eight, others = course(config, 8, MESHES.get(name, "data:-1"), first)
    for metric in one[0]:
        each = ([m[metric] for m in found] for found in (one, eight))
        np.testing.assert_allclose(*each, rtol=1e-4, atol=1e-6, err_msg=metric)
    assert len({m["loss"] for m in one}) == 3
    for path, leaf in params.items():
        np.testing.assert_allclose(leaf, others[path], rtol=1e-3, atol=1e-4, err_msg=path)
