"""Who am I, of how many; and all that happens until the processes of a run can train together."""

import dataclasses
import hashlib
import json
import logging
import os
import queue
import threading
from collections.abc import Mapping

import jax
import numpy as np
from jax.experimental import multihost_utils

from d2v_jax.common.checks import UserError, require
from d2v_jax.train.hosts import roll_call
from d2v_jax.train.hosts.agreement import Peers
from d2v_jax.train.hosts.answer import RollCall
from d2v_jax.train.hosts.handshake import run_secret

log = logging.getLogger("d2v")

COLLECTIVE_S = 120


@dataclasses.dataclass(frozen=True)
class ProcessPlace:
    """One process of a run; `coordinator` is host:port of the first."""

    coordinator: str
    processes: int
    process_id: int


def find_place(
    mode: str | None, coordinator: str | None, processes: int | None, process_id: int | None
) -> ProcessPlace | None:
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
        return ProcessPlace(coordinator, processes, process_id) if processes > 1 else None
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
    return ProcessPlace(address, count, index) if count > 1 else None


def _several(environment: Mapping[str, str]) -> bool:
    """Whether this process was started as one of several."""

    def number(name: str) -> int:
        return int(environment.get(name, "1") or 1)

    return (
        (number("SLURM_NTASKS") > 1 and "SLURM_STEP_ID" in environment)
        or number("OMPI_COMM_WORLD_SIZE") > 1
        or "," in environment.get("TPU_WORKER_HOSTNAMES", "")
        or number("MEGASCALE_NUM_SLICES") > 1
    )


def join(place: ProcessPlace, facts: Mapping[str, object], timeout_s: float) -> Peers:
    """Roll call, agreement on `facts`, then JAX's own start and one collective.

    Raises `UserError` naming the process that does not come, differs or hangs.
    """
    host, _, port = place.coordinator.rpartition(":")
    beside = int(port) + (1 if int(port) < 65535 else -1)
    secret = run_secret(place.coordinator, os.environ)
    call = RollCall(host, beside, place.processes, place.process_id, secret, timeout_s)
    peers = Peers(place.processes, place.process_id, roll_call.connect(call))
    for name, value in facts.items():
        peers.agree(name, value)
    jax.distributed.initialize(
        place.coordinator,
        place.processes,
        place.process_id,
        initialization_timeout=int(timeout_s) + 60,
    )
    peers.agree("number of devices", jax.local_device_count())  # each reads its part of a batch
    fault = _try_collective(facts)
    peers.agree("first collective", fault or "done")
    if fault:
        raise UserError(f"{fault}; check that the hosts reach each other on every port")
    log.info("process %d of %d, %d devices", place.process_id, place.processes, jax.device_count())
    return peers


def _try_collective(facts: Mapping[str, object]) -> str | None:
    """What went wrong when all devices exchanged a digest of `facts`; None when nothing did."""
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).digest()
    faults: queue.Queue[str | None] = queue.Queue()

    def exchange() -> None:
        try:
            multihost_utils.assert_equal(np.frombuffer(digest, np.uint32), "they differ")
            faults.put(None)
        except (RuntimeError, ValueError, AssertionError) as error:  # JAX's are RuntimeErrors
            faults.put(f"a collective of all devices failed: {str(error).splitlines()[0]}")

    threading.Thread(target=exchange, daemon=True).start()
    try:
        return faults.get(timeout=COLLECTIVE_S)
    except queue.Empty:
        return f"a collective of all devices did not come back within {COLLECTIVE_S} s"
