"""Devices and who holds what. The model was written without this file and works without it.

Two axes: `data` splits examples, `fsdp` splits examples and parameters. Teacher and optimiser are
cut like the student, leaf by leaf: the update and the teacher's move need no communication.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from d2v_jax.common.checks import require

AXES = ("data", "fsdp")
SMALLEST = 1024  # elements of a matrix that is worth cutting


def make_mesh(spec: str, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """The given devices, or all of all processes, as `spec` arranges them.

    `spec` is a recipe's `mesh`, such as "data:-1" or "data:2,fsdp:4".
    """
    devices = jax.devices() if devices is None else devices
    shape = axis_sizes(spec, len(devices))
    return jax.make_mesh(shape, AXES, (AxisType.Auto,) * len(AXES), devices=devices)


def axis_sizes(spec: str, devices: int) -> tuple[int, int]:
    """(data, fsdp) sizes of `spec` on so many devices. Raises `ConfigError` where it cannot be."""
    sizes = {"data": 1, "fsdp": 1} | parse(spec)
    free = [axis for axis in AXES if sizes[axis] == -1]
    fixed = math.prod(size for size in sizes.values() if size != -1)
    if free:
        require(
            devices % fixed == 0,
            f"mesh={spec!r}: {devices} devices are no multiple of {fixed}; use a divisor of "
            f"{devices}",
        )
        sizes[free[0]] = devices // fixed
    require(
        math.prod(sizes.values()) == devices,
        f"mesh={spec!r} has {fixed} places for {devices} devices; use --config.mesh=data:-1 or "
        "another with -1 for what remains",
    )
    return sizes["data"], sizes["fsdp"]


def parse(spec: str) -> dict[str, int]:
    """{"data": -1, "fsdp": 8} of "data:-1,fsdp:8". Raises `ConfigError` for anything else."""
    sizes: dict[str, int] = {}
    for part in spec.split(","):
        axis, _, size = (word.strip() for word in part.partition(":"))
        number = int(size) if size.lstrip("-").isdigit() else 0
        require(
            axis in AXES and axis not in sizes and (number > 0 or number == -1),
            f"mesh={spec!r}: {part!r} is not understood; write axes and sizes as in "
            "'data:-1,fsdp:8', where -1 is all devices that remain",
        )
        sizes[axis] = number
    require(
        list(sizes.values()).count(-1) < 2,
        f"mesh={spec!r}: only one size can be -1, all devices that remain",
    )
    return sizes


def replicated(mesh: Mesh) -> NamedSharding:
    """A full copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Examples split over all devices."""
    return NamedSharding(mesh, PartitionSpec(AXES))


def state_sharding(shapes: Any, mesh: Mesh) -> Any:
    """For every leaf of an abstract state, how it is cut: by its shape alone.

    A matrix or kernel is cut along its longest side that `fsdp` divides (of equal ones the last);
    vectors and small matrices are copied. The same shape is cut alike everywhere, so that
    student, teacher and both moments of Adam lie beside each other.
    """
    return jax.tree.map(lambda x: NamedSharding(mesh, leaf_spec(x.shape, mesh)), shapes)


def leaf_spec(shape: tuple[int, ...], mesh: Mesh) -> PartitionSpec:
    """`state_sharding` of one leaf."""
    parts = mesh.shape["fsdp"]
    sides = [side if side % parts == 0 else 0 for side in shape]
    if parts == 1 or len(shape) < 2 or math.prod(shape) < SMALLEST or not any(sides):
        return PartitionSpec()
    cut = max(range(len(shape)), key=lambda axis: (sides[axis], axis))
    return PartitionSpec(*("fsdp" if axis == cut else None for axis in range(cut + 1)))


def check_batch(sizes: Sequence[int], micro_batches: int, mesh: Mesh) -> None:
    """Raises `ConfigError` unless every device gets the same number of examples of each part.

    `sizes` are the examples per batch, of each length that there is.
    """
    devices, common = mesh.devices.size, math.gcd(*sizes)
    lower = common // devices * devices or devices
    remedy = f"use --config.train.batch_size={lower} or another multiple of {devices}"
    if len(sizes) > 1:
        remedy = f"change train.batch_size or data.buckets so that each is a multiple of {devices}"
    listed = ", ".join(map(str, sizes))
    require(
        common % devices == 0,
        f"train.batch_size={listed} cannot be divided among {devices} devices; {remedy}",
    )
    require(
        common // micro_batches % devices == 0,
        f"train.micro_batches={micro_batches} makes parts of "
        f"{', '.join(str(size // micro_batches) for size in sizes)} examples, which cannot be "
        f"divided among {devices} devices; use --config.train.micro_batches="
        f"{math.gcd(common // devices, micro_batches)} or another divisor of {common // devices}",
    )


def on_host(tree: Any) -> Any:
    """Whole NumPy arrays, in every process; all of them must call it."""
    if jax.process_count() == 1:
        return jax.device_get(tree)
    return multihost_utils.process_allgather(tree, tiled=True)


def put(batch: dict[str, np.ndarray], sharding: NamedSharding) -> dict[str, jax.Array]:
    """This process's share of a batch -> global arrays."""
    return {
        name: jax.make_array_from_process_local_data(sharding, array)
        for name, array in batch.items()
    }
