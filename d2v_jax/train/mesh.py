"""Devices and who holds what. The model was written without this file and works without it."""

import math
from collections.abc import Sequence

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from d2v_jax.common.checks import require


def make_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """The given devices, or all of all processes, along one axis, `data`."""
    devices = jax.devices() if devices is None else devices
    return jax.make_mesh((len(devices),), ("data",), (AxisType.Auto,), devices=devices)


def replicated(mesh: Mesh) -> NamedSharding:
    """A full copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Examples split over the devices."""
    return NamedSharding(mesh, PartitionSpec("data"))


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


def put(batch: dict[str, np.ndarray], sharding: NamedSharding) -> dict[str, jax.Array]:
    """This process's share of a batch -> global arrays."""
    return {
        name: jax.make_array_from_process_local_data(sharding, array)
        for name, array in batch.items()
    }
