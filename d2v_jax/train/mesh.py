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


def check_batch(batch_size: int, micro_batches: int, mesh: Mesh) -> None:
    """Raises `ConfigError` unless every device gets the same number of examples of each part."""
    devices = mesh.devices.size
    lower = batch_size // devices * devices or devices
    require(
        batch_size % devices == 0,
        f"train.batch_size={batch_size} cannot be divided among {devices} devices; "
        f"use --config.train.batch_size={lower} or another multiple of {devices}",
    )
    part = batch_size // micro_batches
    require(
        part % devices == 0,
        f"train.micro_batches={micro_batches} makes parts of {part} examples, which cannot be "
        f"divided among {devices} devices; use --config.train.micro_batches="
        f"{math.gcd(batch_size // devices, micro_batches)} or another divisor of "
        f"{batch_size // devices}",
    )


def put(batch: dict[str, np.ndarray], sharding: NamedSharding) -> dict[str, jax.Array]:
    """This process's share of a batch -> global arrays."""
    return {
        name: jax.make_array_from_process_local_data(sharding, array)
        for name, array in batch.items()
    }
