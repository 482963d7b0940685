"""What a recipe will need on each device, from the compiled step, before anything is allocated."""

import collections
import contextlib
import dataclasses
import math
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from d2v_jax.common.checks import ConfigError
from d2v_jax.measure.program import ARRAY, Collective, Program
from d2v_jax.measure.setting import Setting
from d2v_jax.train.recipe.records import Config

LARGEST = 8
COSTLIEST = 10
# What a compiler says of a program that is too large, and of the memory that there is.
TOO_LARGE = (
    re.compile(r"Used ([\d.]+)([KMGT]?) of ([\d.]+)([KMGT]?) hbm"),
    re.compile(r"\(([\d.]+)([KMGT]?)\) exceeds available HBM \(([\d.]+)([KMGT]?)\)"),
)
WRAPPED = re.compile(r"^(transpose\(|jvp\()+")  # by differentiation, around names
UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@dataclasses.dataclass(frozen=True)
class Cost:
    """What some operations of one name and line take, of the compiler's estimate of a step."""

    cycles: int
    name: str
    line: str


@dataclasses.dataclass(frozen=True)
class Plan:
    """One step of a recipe on each of some devices. Bytes and operations are of one device."""

    recipe: str
    settings: tuple[str, ...]  # fields that differ from the recipe's
    on: str
    devices: int
    mesh: str
    dtype: str
    examples: int  # of a whole step
    example_shape: tuple[int, ...]
    held: dict[str, int]  # bytes, by what they are
    temporary: int | None  # bytes; None where the compiler gave up before it knew
    needs: int  # bytes in all, at the fullest moment
    has: int | None  # bytes, where that is known
    fits: bool
    products: float  # floating-point operations of matrix products, by hand
    counted: float | None = None  # of everything, as the compiler counts
    moved: float | None = None  # bytes to and from memory, as the compiler counts
    largest: tuple[tuple[str, int], ...] = ()
    cycles: int = 0  # the compiler's estimate; 0 where it makes none
    collectives: tuple[Collective, ...] = ()
    costliest: tuple[Cost, ...] = ()
    compile_s: float = 0.0
    quick: bool = False  # compiled without looking for the fastest program; no estimate


def pretend(devices: int | None) -> None:
    """The CPU, as so many devices or as it is, to plan for others; before anything is computed."""
    jax.config.update("jax_platforms", "cpu")
    if devices:
        jax.config.update("jax_num_cpu_devices", devices)


def plan(
    config: Config,
    devices: Sequence[jax.Device] | None = None,
    memory: int | None = None,
    settings: tuple[str, ...] = (),
    quick: bool = False,
) -> Plan:
    """Compiles the step; nothing else is computed.

    Of examples of several lengths the batch counts that needs most; for devices that a compiler
    only pretends, where compiling takes minutes, that of the longest. `memory` bytes is what each
    of those has. `quick`: without looking for the fastest program, which takes a TPU's compiler
    most of its time; memory and messages are then known, the estimate is not. Raises
    `ConfigError` where the backend does not say what a program needs.
    """
    lengths = range(len(config.data.example_shapes)) if devices is None else [-1]
    every = [Setting(config, devices=devices, length=length) for length in lengths]
    began = time.monotonic()
    try:
        with _effort(-1.0 if quick else 0.0):
            compiled = [one.lower().compile() for one in every]
    except jax.errors.JaxRuntimeError as error:
        if (found := _too_large(str(error))) is None:
            raise
        needs, has = found
        outline = _outline(every[-1], settings, None, has, time.monotonic() - began)
        return dataclasses.replace(outline, needs=needs, fits=False, quick=quick)
    took = time.monotonic() - began
    needs = [one.memory_analysis() for one in compiled]
    worst = max(range(len(needs)), key=lambda i: needs[i].temp_size_in_bytes)
    setting, step, need = every[worst], compiled[worst], needs[worst]
    device = setting.mesh.devices.flat[0]
    if devices is None:
        memory = (device.memory_stats() or {}).get("bytes_limit")
    program = Program(step.as_text())
    outline = _outline(setting, settings, need.temp_size_in_bytes, memory, took)
    if not outline.needs:
        raise ConfigError("this backend does not say what a program needs; plan on the CPU")
    if device.platform == "tpu":
        # Its compiler refuses what is too large; its temporaries are not all there at once.
        peak = need.peak_memory_in_bytes + need.generated_code_size_in_bytes
        rest = max(peak - sum(outline.held.values()), 0)
        outline = dataclasses.replace(outline, temporary=rest, needs=peak, fits=True)
    counts = step.cost_analysis() or {}
    return dataclasses.replace(
        outline,
        counted=counts.get("flops"),
        moved=counts.get("bytes accessed"),
        largest=tuple(largest(program)),
        cycles=0 if quick else program.cycles,
        collectives=tuple(program.collectives()),
        costliest=() if quick else tuple(costliest(program)),
        quick=quick,
    )


@contextlib.contextmanager
def _effort(level: float) -> Iterator[None]:
    """How hard a compiler looks for a fast program, -1 to 1; 0 is what runs are compiled with."""
    before = jax.config.jax_exec_time_optimization_effort
    jax.config.update("jax_exec_time_optimization_effort", level)
    try:
        yield
    finally:
        jax.config.update("jax_exec_time_optimization_effort", before)


def _outline(
    setting: Setting,
    settings: tuple[str, ...],
    temporary: int | None,
    memory: int | None,
    took: float,
) -> Plan:
    """What is known without the compiled program."""
    config, mesh = setting.config, setting.mesh
    count, device = mesh.devices.size, mesh.devices.flat[0]
    shapes, shardings, objective = setting.shapes, setting.shardings, config.objective
    held = {objective.params_name: held_bytes(shapes.params, shardings.params)}
    if shapes.carried:
        held[objective.carried_name] = held_bytes(shapes.carried, shardings.carried)
    held["optimiser"] = held_bytes(shapes.opt_state, shardings.opt_state)
    held["batch"] = bytes_of(jax.tree.leaves(setting.batch)) // count
    needs = sum(held.values()) + (temporary or 0)
    return Plan(
        recipe=config.recipe,
        settings=settings,
        on=f"{count} x {device.device_kind}",
        devices=count,
        mesh=config.mesh,
        dtype=objective.dtype,
        examples=setting.examples,
        example_shape=setting.example_shape,
        held=held,
        temporary=temporary,
        needs=needs,
        has=memory,
        fits=memory is None or needs <= memory,
        products=sum(setting.products.values()) / count,
        compile_s=took,
    )


def _too_large(error: str) -> tuple[int, int] | None:
    """Bytes that a program would need and those that there are, of the compiler's refusal."""
    for pattern in TOO_LARGE:
        if found := pattern.search(error):
            need, unit, has, of = found.groups()
            return int(float(need) * UNITS[unit]), int(float(has) * UNITS[of])
    return None


def held_bytes(shapes: Any, shardings: Any) -> int:
    """Bytes of a tree that one device holds."""
    shards = jax.tree.map(
        lambda x, s: jax.ShapeDtypeStruct(s.shard_shape(x.shape), x.dtype), shapes, shardings
    )
    return bytes_of(jax.tree.leaves(shards))


def bytes_of(leaves: Iterable[jax.ShapeDtypeStruct]) -> int:
    return sum(math.prod(leaf.shape) * np.dtype(leaf.dtype).itemsize for leaf in leaves)


def largest(program: Program) -> list[tuple[str, int]]:
    """The largest arrays that a compiled program names, one per name."""
    sizes: dict[str, int] = collections.defaultdict(int)
    for one in program.instructions():
        if one.op_name and (shape := ARRAY.match(one.made)):
            kind, sides = shape.groups()
            short = f"{short_name(one.op_name)} [{sides}] {kind}"
            sizes[short] = max(sizes[short], one.bytes)
    return sorted(sizes.items(), key=lambda item: -item[1])[:LARGEST]


def costliest(program: Program) -> list[Cost]:
    """The operations that take most, those of one name and line together, whatever the block."""
    sums: dict[tuple[str, str], int] = collections.Counter()
    for one, times in program.operations():
        if cycles := one.cycles * times:
            back = " (back)" if "transpose(" in one.op_name else ""
            name = re.sub(r"(block|conv|proj)_\d+", r"\1_*", short_name(one.op_name, 3))
            sums[f"{name}{back}" if name else one.opcode, program.line(one)] += cycles
    found = sorted(sums.items(), key=lambda item: -item[1])[:COSTLIEST]
    return [Cost(cycles, *key) for key, cycles in found]


def short_name(name: str, most: int = 5) -> str:
    """Without JAX's own words: "jit(step)/transpose(jvp(student))/Network.predict/trunk/..."."""
    bare = [
        WRAPPED.sub("", part).rstrip(")") if "jvp(" in part else part for part in name.split("/")
    ]
    own = ("jit(", "while", "body", "closed_call", "checkpoint")
    return "/".join([part for part in bare if part and not part.startswith(own)][-most:])
