"""How fast a recipe's step runs here, beside what the device can do; nothing is read or saved."""

import dataclasses
import logging
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental.compilation_cache import compilation_cache

from d2v_jax.common import rng, trees
from d2v_jax.common.checks import UserError
from d2v_jax.measure import devices
from d2v_jax.measure.setting import Setting
from d2v_jax.train import state
from d2v_jax.train.machine import mesh as meshes
from d2v_jax.train.recipe.records import Config
from d2v_jax.train.report import goodput

log = logging.getLogger("d2v")

BURST_S = 0.25  # least time of steps, or of matrix products, that are measured together
ROUNDS = 5  # at least; in each, everything is measured once
# Sides of the square products whose rate is the machine's; the fastest counts.
SIDES = {"cpu": (1024, 2048, 4096), "gpu": (4096, 8192, 16384), "tpu": (4096, 8192)}

# Element-wise operations per parameter: norm and clipping 3, moments 7, step 6, decay 2.
OPTIMISER = 18.0

Burst = Callable[[], float]  # runs for about `BURST_S`; -> seconds per unit


@dataclasses.dataclass(frozen=True)
class Quartiles:
    """The middle half of what was measured, in each round once."""

    low: float
    median: float
    high: float

    @staticmethod
    def of(values: Sequence[float]) -> "Quartiles":
        return Quartiles(*(float(q) for q in np.percentile(values, (25, 50, 75))))


@dataclasses.dataclass(frozen=True)
class Arithmetic:
    """Floating-point operations of one step, all devices together."""

    parts: dict[str, float]  # matrix products by part of the step, by hand
    update: float
    compiler: float  # of everything, as the compiler counts

    @property
    def products(self) -> float:
        """Of all matrix products."""
        return sum(self.parts.values())

    @staticmethod
    def of(setting: Setting, lowered: jax.stages.Lowered) -> "Arithmetic":
        objective, shapes = setting.config.objective, setting.shapes
        update = OPTIMISER * trees.count(shapes.params)
        update += objective.carried_operations * trees.count(shapes.carried)
        counted = (lowered.cost_analysis() or {}).get("flops", math.nan)
        return Arithmetic(setting.products, update, counted)


@dataclasses.dataclass(frozen=True)
class Compiling:
    """Seconds to the first step: tracing it, and compiling it from nothing or from the cache."""

    trace: float
    cold: float
    cached: float


@dataclasses.dataclass(frozen=True)
class Result:
    """What was measured of one setting."""

    arithmetic: Arithmetic
    compiling: Compiling
    step_s: Quartiles
    examples: int
    example_shape: tuple[int, ...]
    matmul_flops: float  # per second, median of the same rounds
    share_of_matmul: Quartiles
    peak_flops: float | None  # per second, by the data sheets of all devices
    memory_bytes: int  # of one device, by the compiled program
    memory_peak_bytes: int | None  # of the fullest device, counted while it ran
    compared: "Compared | None"
    parts_s: dict[str, Quartiles] | None


@dataclasses.dataclass(frozen=True)
class Compared:
    """The same with some fields set otherwise, measured in turn."""

    overrides: tuple[str, ...]
    step_s: Quartiles
    ratio: Quartiles  # of examples per second, the other's by the first's


def ready(setting: Setting, program: jax.stages.Compiled) -> Burst:
    """Allocates everything and warms up."""
    config, data = setting.config, setting.config.data
    batch = data.noise(setting.example_shape, setting.examples, config.frontend)
    batch = meshes.put(batch, meshes.batch_sharding(setting.mesh))
    held = jax.jit(lambda: state.create(config), out_shardings=setting.shardings)()

    def steps(count: int) -> None:
        nonlocal held
        for _ in range(count):
            moved, metrics = program(held, batch)
            held = held if setting.keeps else moved
        jax.block_until_ready((held, metrics))

    return burst(steps)


def burst(units: Callable[[int], None]) -> Burst:
    """`units(count)` does so many; how many make a burst is found by trying, which warms up."""
    units(2)
    count = max(1, math.ceil(BURST_S / timed(lambda: units(1))))
    return lambda: timed(lambda: units(count)) / count


def timed(run: Callable[[], Any]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def bench(
    config: Config, seconds: float, other: tuple[Config, tuple[str, ...]] | None, parts: bool
) -> Result:
    """Measures for about `seconds`, in rounds, everything in turn.

    `other`: a second setting and what to call it. With `parts` the step is measured without each
    of its parts too. Raises `UserError` where a step needs more memory than there is.
    """
    setting = Setting(config)
    log.info("compiling the step, twice: from nothing and from the cache ...")
    program, lowered, compiling = compile_twice(setting)
    memory = fits(program)
    settings = [("step", setting)]
    if other:
        settings.append(("other", Setting(other[0])))
    names = (*config.objective.parts, "update") if parts else ()
    settings += [(name, Setting(config, name)) for name in names]
    bursts: dict[str, Burst] = {"matmul": matmul(config.objective.dtype)}
    for name, one in settings:
        if one is not setting:
            log.info(
                "compiling %s ...",
                "the other setting" if name == "other" else f"a step without {name}",
            )
            program = one.lower().compile()
            fits(program)
        bursts[name] = ready(one, program)
    log.info("measuring for %.0f s ...", seconds)
    rounds = measured(bursts, seconds)

    arithmetic = Arithmetic.of(setting, lowered)
    count = setting.mesh.devices.size
    rates = [count / each for each in rounds["matmul"]]
    device = setting.mesh.devices.flat[0]
    peak = devices.peak_flops(device, config.objective.dtype)
    compared = None
    if other:
        per_example = setting.examples / settings[1][1].examples
        ratios = [
            ours / theirs / per_example for ours, theirs in zip(rounds["step"], rounds["other"])
        ]
        compared = Compared(other[1], Quartiles.of(rounds["other"]), Quartiles.of(ratios))
    return Result(
        arithmetic=arithmetic,
        compiling=compiling,
        step_s=Quartiles.of(rounds["step"]),
        examples=setting.examples,
        example_shape=setting.example_shape,
        matmul_flops=float(np.median(rates)),
        share_of_matmul=Quartiles.of(
            [arithmetic.products / took / rate for took, rate in zip(rounds["step"], rates)]
        ),
        peak_flops=peak and peak * count,
        memory_bytes=memory,
        memory_peak_bytes=goodput.device_memory_peak(),
        compared=compared,
        parts_s={
            name: Quartiles.of([whole - less for whole, less in zip(rounds["step"], rounds[name])])
            for name in names
        }
        or None,
    )


def measured(bursts: dict[str, Burst], seconds: float) -> dict[str, list[float]]:
    """What each burst says, in rounds: a machine that changes its speed changes it for all."""
    rounds: dict[str, list[float]] = {name: [] for name in bursts}
    began = time.monotonic()
    while len(rounds["step"]) < ROUNDS or time.monotonic() - began < seconds:
        for name, one in bursts.items():
            rounds[name].append(one())
    return rounds


def matmul(dtype: str) -> Burst:
    """Square products on one device, each fed by the one before. Its unit is one operation."""
    best: tuple[float, Burst] | None = None
    for side in SIDES.get(jax.default_backend(), SIDES["gpu"]):
        w = jax.random.normal(rng.key(0), (side, side), dtype) / math.sqrt(side)
        chain = jax.jit(lambda x, w, n: jax.lax.fori_loop(0, n, lambda _, x: x @ w, x))
        products = burst(lambda n, w=w, chain=chain: jax.block_until_ready(chain(w, w, n)))
        per_flop = lambda products=products, side=side: products() / (2 * side**3)
        took = min(per_flop() for _ in range(3))
        if best is None or took < best[0]:
            best = took, per_flop
    return best[1]


def compile_twice(
    setting: Setting,
) -> tuple[jax.stages.Compiled, jax.stages.Lowered, Compiling]:
    """In a cache of its own, so that the first time is one."""
    cache = jax.config.jax_compilation_cache_dir
    took: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="d2v-bench-") as folder:
        try:
            _use_cache(folder)
            for name in ("cold", "cached"):
                jax.clear_caches()
                began = time.perf_counter()
                lowered = setting.lower()
                took["trace"] = time.perf_counter() - began
                took[name] = timed(lowered.compile)
            return lowered.compile(), lowered, Compiling(**took)
        finally:
            _use_cache(cache)


def _use_cache(folder: str | None) -> None:
    jax.config.update("jax_compilation_cache_dir", folder)
    compilation_cache.reset_cache()


def fits(program: jax.stages.Compiled) -> int:
    """Bytes that a program needs on each device. Raises `UserError` where there are fewer."""
    need = program.memory_analysis()
    size = need.argument_size_in_bytes + need.temp_size_in_bytes
    device = jax.local_devices()[0]
    limit = (device.memory_stats() or {}).get("bytes_limit")
    if limit is None and device.platform == "cpu":
        limit = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if limit and size > limit:
        raise UserError(
            f"the step needs {size / 2**30:.1f} GiB on each device and there are "
            f"{limit / 2**30:.1f}; lower --config.train.batch_size, or set train.micro_batches or "
            "trunk.remat=blocks (d2v inspect --plan says what is large)"
        )
    return size


def rates(config: Config, result: Result) -> Iterator[tuple[str, float]]:
    """What a second brings, in the units people count."""
    per_s = 1 / result.step_s.median
    yield "steps/s", per_s
    yield "examples/s", per_s * result.examples
    if counted := config.data.rate(result.example_shape):
        unit, count = counted
        yield f"{unit}/s", per_s * result.examples * count
