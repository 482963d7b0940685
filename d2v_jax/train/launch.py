"""One program on many hosts: who am I, who are the others, do we agree."""

import dataclasses
import logging
import os
import threading
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from d2v_jax.common.checks import UserError, require
from d2v_jax.train.machine import mesh as meshes
from d2v_jax.train.peers import Peers

log = logging.getLogger("d2v")

COLLECTIVE_S = 120


@dataclasses.dataclass(frozen=True)
class Place:
    """One process of a run; `coordinator` is host:port of the first."""

    coordinator: str
    processes: int
    process_id: int


def find_place(
    mode: str | None, coordinator: str | None, processes: int | None, process_id: int | None
) -> Place | None:
    """From the command line, or from the cluster (Cloud TPU, GKE, Slurm, MPI); None when alone.

    `mode`: "auto", "off", or None for auto where the environment shows several processes.
    Raises `ConfigError` for half an address.
    """
    given = (coordinator, processes, process_id)
    if any(value is not None for value in given):
        require(
            all(value is not None for value in given) and mode != "off",
            "--coordinator HOST:PORT, --processes N and --process-id I belong together",
        )
        host, _, port = coordinator.rpartition(":")
        require(bool(host) and port.isdigit(), f"--coordinator {coordinator!r}: give HOST:PORT")
        require(
            processes > 0 and 0 <= process_id < processes,
            f"--process-id {process_id} must lie between 0 and --processes {processes} - 1",
        )
        return Place(coordinator, processes, process_id) if processes > 1 else None
    if mode == "off" or (mode is None and not _several(os.environ)):
        return None
    # JAX knows these clusters; only what it found lets us name a process that is missing.
    from jax._src.clusters import ClusterEnv

    address, count, index, _ = ClusterEnv.auto_detect_unset_distributed_params(
        None, None, None, None, None, 300
    )
    if address is None or count is None or index is None:
        raise UserError(
            "--distributed auto: no cluster was recognised (Cloud TPU, GKE, Slurm, MPI); give "
            "--coordinator HOST:PORT --processes N --process-id I to every process"
        )
    return Place(address, count, index) if count > 1 else None


def _several(environment: Mapping[str, str]) -> bool:
    """Whether this process was started as one of several."""
    number = lambda name: int(environment.get(name, "1") or 1)
    return (
        (number("SLURM_NTASKS") > 1 and "SLURM_STEP_ID" in environment)
        or number("OMPI_COMM_WORLD_SIZE") > 1
        or "," in environment.get("TPU_WORKER_HOSTNAMES", "")
        or number("MEGASCALE_NUM_SLICES") > 1
    )


def join(place: Place, facts: Mapping[str, object], timeout_s: float) -> Peers:
    """Roll call, agreement on `facts`, then JAX's own start and one collective.

    Raises `UserError` naming the process that does not come, differs or hangs.
    """
    host, _, port = place.coordinator.rpartition(":")
    beside = int(port) + (1 if int(port) < 65535 else -1)
    peers = Peers(host, beside, place.processes, place.process_id, timeout_s)
    for name, value in facts.items():
        peers.agree(name, value)
    jax.distributed.initialize(
        place.coordinator, place.processes, place.process_id,
        initialization_timeout=int(timeout_s) + 60,
    )  # fmt: skip
    done = threading.Event()

    def collective() -> None:
        mesh = meshes.make_mesh("data:-1")
        one = jax.make_array_from_callback(
            (mesh.devices.size,), NamedSharding(mesh, PartitionSpec(meshes.AXES)),
            lambda index: jnp.ones(1),
        )  # fmt: skip
        if float(jax.jit(jnp.sum, out_shardings=meshes.replicated(mesh))(one)) == len(one):
            done.set()

    threading.Thread(target=collective, daemon=True).start()
    done.wait(COLLECTIVE_S)
    peers.agree("a sum over all devices", "right" if done.is_set() else "no answer")
    if not done.is_set():
        raise UserError(
            f"a sum over the devices of all processes did not come back within {COLLECTIVE_S} s; "
            "check that the hosts reach each other on every port"
        )
    log.info("process %d of %d, %d devices", place.process_id, place.processes, jax.device_count())
    return peers
