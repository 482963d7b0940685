"""What `bench` measured, for people and as JSON."""

import dataclasses
import datetime
import math
import pathlib
import platform
from collections.abc import Iterator
from typing import Any

import jax

from d2v_jax.measure.step_bench import Quartiles, Result, rates
from d2v_jax.train import run
from d2v_jax.train.recipe import resolve
from d2v_jax.train.recipe.records import Config

WIDTH = 50  # characters of a whole step's bar
GFLOP, MIB = 1e9, 2**20


def record(config: Config, result: Result) -> dict[str, Any]:
    """Everything, with what is needed to read it next year."""
    facts = run.facts(resolve.to_fields(config))
    return {
        "recipe": config.recipe,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "device": device_name(),
        "devices": jax.device_count(),
        "code": facts["code"],
        "versions": facts["versions"],
        **dataclasses.asdict(result),
        "products": result.arithmetic.products,
        "rates": dict(rates(config, result)),
        "fields": facts["recipe"],
    }


def device_name() -> str:
    """The device's own name; on the CPU the processor's."""
    device = jax.devices()[0]
    if device.platform != "cpu":
        return device.device_kind
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} x {names[0]}" if names else platform.processor() or "CPU"


def table(config: Config, result: Result) -> str:
    return "\n".join(_lines(config, result))


def _lines(config: Config, result: Result) -> Iterator[str]:
    shape = "x".join(map(str, result.example_shape))
    yield (
        f"{config.recipe}: {result.examples} examples of {shape}, "
        f"{config.objective.dtype}, on {jax.device_count()} device(s): "
        f"{device_name()}"
    )
    arithmetic = result.arithmetic
    yield ""
    yield "GFLOP of one step"
    for part, flops in (*arithmetic.parts.items(), ("update", arithmetic.update)):
        yield f"  {part:26}{flops / GFLOP:12,.2f}"
    yield f"  {'matrix products':26}{arithmetic.products / GFLOP:12,.2f}"
    loops = config.train.micro_batches > 1 or config.objective.loops
    ratio = arithmetic.compiler / arithmetic.products if arithmetic.products else math.nan
    note = "loops once" if loops else f"{ratio:.2f} times as many"
    yield (
        f"  {'the compiler counts':26}{arithmetic.compiler / GFLOP:12,.2f}   "
        f"everything, masks and norms too: {note}"
    )
    yield ""
    yield f"{'a step, s':28}{_quartiles(result.step_s)}"
    for unit, rate in rates(config, result):
        yield f"{unit:28}{rate:12,.4g}"
    yield f"{'matrix products here':28}{result.matmul_flops / GFLOP:12,.0f} GFLOP/s, same minutes"
    yield f"{'of them the step reaches':28}{_quartiles(result.share_of_matmul, 100)} %"
    if result.peak_flops:
        share = result.arithmetic.products / result.step_s.median / result.peak_flops
        yield (
            f"{'of the data sheet':28}{100 * share:12.1f} % of "
            f"{result.peak_flops / 1e12:,.0f} TFLOP/s"
        )
    else:
        yield f"{'of the data sheet':28}{'-':>12} no such device in the table"
    yield f"{'memory of a device, MiB':28}{result.memory_bytes / MIB:12,.0f} by the program"
    if result.memory_peak_bytes:
        yield f"{'':28}{result.memory_peak_bytes / MIB:12,.0f} counted, at most"
    compiling = result.compiling
    yield f"{'compiling, s':28}{compiling.cold:12.1f} the first time"
    yield f"{'':28}{compiling.cached:12.1f} from the cache"
    yield f"{'tracing, s':28}{compiling.trace:12.1f} every time"
    if compared := result.compared:
        yield ""
        yield f"with {' '.join(compared.overrides)}"
        yield f"  {'a step, s':26}{_quartiles(compared.step_s)}"
        yield f"  {'examples/s, times as many':26}{_quartiles(compared.ratio)}"
    if result.parts_s:
        yield ""
        yield "where the time goes: what a step takes longer for having a part"
        yield from bars(result)


def bars(result: Result) -> Iterator[str]:
    """Each part's share of a step; the rest is what no single part explains."""
    parts = {name: quartiles.median for name, quartiles in (result.parts_s or {}).items()}
    whole = result.step_s.median
    parts["rest"] = whole - sum(parts.values())
    for name, seconds in parts.items():
        share = seconds / whole
        bar = "#" * round(WIDTH * max(share, 0))
        yield f"  {name:10}{1000 * seconds:10,.1f} ms {100 * share:6.1f} %  {bar}".rstrip()


def _quartiles(quartiles: Quartiles, times: float = 1) -> str:
    low, median, high = (times * each for each in dataclasses.astuple(quartiles))
    return f"{median:12.4g}   half of them {low:.4g} to {high:.4g}"
