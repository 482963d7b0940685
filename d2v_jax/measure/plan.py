"""What a recipe will need on each device, from the compiled step, before anything is allocated."""

import collections
import math
import re
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np

from d2v_jax.common.checks import ConfigError
from d2v_jax.train import state, step
from d2v_jax.train.machine import mesh as meshes
from d2v_jax.train.recipe.records import Config

MIB = 2**20
LARGEST = 8
BYTES = {
    "pred": 1,
    "s8": 1,
    "u8": 1,
    "bf16": 2,
    "f16": 2,
    "s16": 2,
    "u16": 2,
    "f32": 4,
    "s32": 4,
    "u32": 4,
    "f64": 8,
    "s64": 8,
    "u64": 8,
}
ARRAY = re.compile(r"= (\w+)\[([\d,]+)\]\{[^}]*\} .*metadata=\{[^}]*op_name=\"([^\"]*)\"")


def pretend(devices: int) -> None:
    """So many devices on the CPU, to plan for others; before anything is computed."""
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", devices)


def plan(config: Config) -> str:
    """The table of bytes per device, the largest arrays of the step and its arithmetic.

    Of crops of several lengths the batch with the most bytes counts. Compiles the step; nothing
    else is computed.
    """
    mesh = meshes.make_mesh(config.mesh)
    sizes = config.data.batch_sizes(config.train.batch_size)
    meshes.check_batch(sizes, config.train.micro_batches, mesh)
    shapes = jax.eval_shape(lambda: state.create(config))
    shardings = meshes.state_sharding(shapes, mesh)
    train_step = step.compile_step(config, mesh, shardings)
    batches = [
        abstract_batch(config, shape, size)
        for shape, size in zip(config.data.example_shapes, sizes)
    ]
    compiled = [train_step.lower(shapes, batch).compile() for batch in batches]
    needs = [one.memory_analysis() for one in compiled]
    worst = max(range(len(needs)), key=lambda i: needs[i].temp_size_in_bytes)
    batch, need = batches[worst], needs[worst]
    rows = [
        (config.objective.params_name, _held(shapes.params, shardings.params)),
        *(
            [(config.objective.carried_name, _held(shapes.carried, shardings.carried))]
            if shapes.carried
            else []
        ),
        ("optimiser", _held(shapes.opt_state, shardings.opt_state)),
        ("batch", _bytes(jax.tree.leaves(batch)) // mesh.devices.size),
        ("activations and gradients", need.temp_size_in_bytes),
    ]
    total = sum(size for _, size in rows)
    if not total:
        raise ConfigError("this backend does not say what a program needs; plan on the CPU")
    device = jax.devices()[0]
    lines = [
        f"{config.recipe} on {mesh.devices.size} x {device.device_kind}, mesh {config.mesh}, "
        f"{batch['example_id'].shape[0]} examples "
        f"{'x'.join(map(str, config.data.example_shapes[worst]))} per step",
        "",
        "MiB per device",
        *(f"  {name:26}{size / MIB:12,.1f}" for name, size in rows),
        f"  {'in all':26}{total / MIB:12,.1f}",
    ]
    limit = (device.memory_stats() or {}).get("bytes_limit")
    if limit:
        lines.append(f"  {'of':26}{limit / MIB:12,.1f}")
    lines += ["", "largest arrays of the step, MiB"]
    lines += [f"  {size / MIB:10,.1f}  {name}" for name, size in largest(compiled[worst].as_text())]
    cost = compiled[worst].cost_analysis() or {}
    if flops := cost.get("flops"):
        lines += ["", f"{flops / 1e9:,.1f} GFLOP per step and device, as XLA counts"]
    lines += [
        "",
        "To need less: mesh=fsdp:-1 (parameters, optimiser), train.micro_batches, "
        "mask.micro_views, trunk.remat=blocks (activations).",
    ]
    return "\n".join(lines)


def abstract_batch(config: Config, shape: tuple[int, ...], size: int) -> dict[str, Any]:
    """The shapes of a batch as the loader delivers it."""
    forms = config.data.form(shape, size)
    return {name: jax.ShapeDtypeStruct(*one) for name, one in forms.items()}


def _held(shapes: Any, shardings: Any) -> int:
    """Bytes of a tree that one device holds."""
    shards = jax.tree.map(
        lambda x, s: jax.ShapeDtypeStruct(s.shard_shape(x.shape), x.dtype), shapes, shardings
    )
    return _bytes(jax.tree.leaves(shards))


def _bytes(leaves: Iterable[jax.ShapeDtypeStruct]) -> int:
    return sum(math.prod(leaf.shape) * np.dtype(leaf.dtype).itemsize for leaf in leaves)


def largest(program: str) -> list[tuple[str, int]]:
    """The largest arrays that a compiled program names, one per name."""
    sizes: dict[str, int] = collections.defaultdict(int)
    for kind, sides, name in ARRAY.findall(program):
        if kind in BYTES:
            size = BYTES[kind] * math.prod(map(int, sides.split(",")))
            short = f"{_short(name)} [{sides}] {kind}"
            sizes[short] = max(sizes[short], size)
    return sorted(sizes.items(), key=lambda item: -item[1])[:LARGEST]


def _short(name: str) -> str:
    """Without JAX's own words: "jit(step)/transpose(jvp(student))/Network.predict/trunk/..."."""
    parts = [part for part in name.split("/") if not part.startswith(("jit(", "while", "body"))]
    return "/".join(parts[-5:])
