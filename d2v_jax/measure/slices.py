"""TPU slices to compile for without having one: what a chip has, and the compiler's devices."""

import contextlib
import dataclasses
import math
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence

import jax

from d2v_jax.common.checks import UserError


@dataclasses.dataclass(frozen=True)
class Chip:
    """What the maker promises of one chip (Cloud TPU documentation, "System architecture")."""

    memory_gib: float
    tflops: float  # dense bfloat16 matrix products
    flops_per_cycle: int  # of all its matrix units together
    links_gb: float  # GB/s to its neighbours in the slice, all links, one way

    @property
    def hertz(self) -> float:
        return self.tflops * 1e12 / self.flops_per_cycle


CHIPS = {
    "v4": Chip(32, 275, 2 * 4 * 2 * 128**2, 300),
    "v5e": Chip(16, 197, 1 * 4 * 2 * 128**2, 200),
    "v5p": Chip(95, 459, 2 * 4 * 2 * 128**2, 600),
    "v6e": Chip(32, 918, 1 * 4 * 2 * 256**2, 400),
}


@dataclasses.dataclass(frozen=True)
class Slice:
    """Chips beside each other, as `v5e:2x4`."""

    name: str
    chip: Chip
    devices: Sequence[jax.Device]


def find(name: str) -> Slice:
    """The slice of that name. Raises `UserError` where libtpu is missing or does not know it."""
    kind, _, sides = name.partition(":")
    if kind not in CHIPS or not re.fullmatch(r"\d+(x\d+){1,2}", sides):
        raise UserError(
            f"--on {name}: not a TPU slice; write a kind ({', '.join(CHIPS)}) and the sides of the "
            "slice in chips, as in v5e:2x4 (v5e-8), v6e:4x4 (v6e-16) or v5p:2x2x2 (v5p-16)"
        )
    with _silent():
        from jax.experimental import topologies

        # By default four chips are a host's share, so fewer must be asked for.
        chips = [int(side) for side in sides.split("x")]
        small = math.prod(chips) < 4
        bounds = {"chips_per_host_bounds": [*chips, 1, 1][:3]} if small else {}
        try:
            found = topologies.get_topology_desc(platform="tpu", topology_name=name, **bounds)
        except RuntimeError as error:
            raise UserError(_remedy(name, str(error))) from error
    return Slice(name, CHIPS[kind], found.devices)


def _remedy(name: str, error: str) -> str:
    if "not installed" in error:
        return (
            f"--on {name}: the compiler for TPUs is missing (it needs no TPU); pip install "
            "--target tpu-compiler libtpu, and PYTHONPATH=tpu-compiler before the command"
        )
    return f"--on {name}: libtpu does not know this slice: {error.strip().splitlines()[-1]}"


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """libtpu looks for the machine it would run on, and complains at length where there is none."""
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")  # others may compile at the same time
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as silent:
        os.dup2(silent.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
