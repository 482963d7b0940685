"""A plan for people."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from d2v_jax.measure import fitting
from d2v_jax.measure.plan import Plan
from d2v_jax.measure.slices import Slice

GIGA, MIB, GIB = 1e9, 2**20, 2**30


def table(plan: Plan, where: Slice | None = None) -> str:
    """Bytes of a device, the largest arrays, arithmetic, messages; `where` brings the estimate."""
    return "\n".join(_lines(plan, where))


def _lines(plan: Plan, where: Slice | None) -> Iterator[str]:
    place = f"{where.name} ({plan.on})" if where else plan.on
    shape = "x".join(map(str, plan.example_shape))
    settings = "".join(f", {one}" for one in plan.settings)
    yield (
        f"{plan.recipe} on {place}, mesh {plan.mesh}, {plan.examples} examples {shape} per "
        f"step{settings}"
    )
    yield ""
    yield "MiB per device"
    for name, size in plan.held.items():
        yield _mib(name, size)
    if plan.temporary is not None:
        yield _mib("activations and gradients", plan.temporary)
    yield _mib("at the fullest moment" if where else "in all", plan.needs)
    if plan.has:
        yield _mib("of", plan.has) + f"   {'fits' if plan.fits else 'DOES NOT FIT'}"
    if plan.largest:
        yield ""
        yield "largest arrays of the step, MiB"
        for name, size in plan.largest:
            yield f"  {size / MIB:10,.1f}  {name}"
    if plan.counted:
        yield ""
        yield "arithmetic of a step and device"
        yield f"  {plan.products / GIGA:12,.1f} GFLOP of matrix products, by hand"
        yield f"  {plan.counted / GIGA:12,.1f} GFLOP per step and device, as XLA counts"
        if plan.moved:
            yield f"  {plan.moved / GIB:12,.1f} GiB to and from memory, as XLA counts"
    if plan.collectives:
        yield ""
        yield "what devices tell each other in a step"
        yield from _collectives(plan)
    if where and plan.cycles:
        yield ""
        yield from _estimate(plan, where)
    if plan.quick:
        yield ""
        yield "A quick plan: no estimate, and whole plans differ by up to 7 % in memory."
    yield ""
    yield (
        "To need less: mesh=fsdp:-1 (parameters, optimiser), train.micro_batches, "
        "mask.micro_views, trunk.remat=blocks (activations)."
    )


def record(plan: Plan, where: Slice) -> dict[str, Any]:
    """All figures, with what the slice makes of them, for JSON."""
    estimates = {}
    if plan.cycles:
        estimates = {
            "step_s": step_s(plan, where),
            "links_s": links_s(plan, where),
            "utilisation": utilisation(plan, where),
        }
    versions = fitting.versions()
    return {"slice": where.name, **dataclasses.asdict(plan), **estimates, "versions": versions}


def verdict(last: Plan, where: Slice) -> str:
    """What a search for settings that fit has come to."""
    words = " ".join(f"--config.{one}" for one in last.settings)
    if last.fits:
        return f"fits on {where.name} with {words}:"
    return f"does not fit on {where.name} even with {words}:"


def _mib(name: str, size: int) -> str:
    return f"  {name:26}{size / MIB:12,.1f}"


def _collectives(plan: Plan) -> Iterator[str]:
    kinds: dict[tuple[str, int], list[float]] = {}
    for one in plan.collectives:
        sums = kinds.setdefault((one.opcode, one.devices), [0, 0, 0])
        sums[0] += one.times
        sums[1] += one.times * one.bytes
        sums[2] = max(sums[2], one.bytes)
    for (opcode, devices), (times, size, most) in sorted(kinds.items(), key=lambda i: -i[1][1]):
        yield (
            f"  {size / MIB:12,.1f} MiB in {times:,} {opcode} among {devices}, the largest "
            f"{most / MIB:,.1f}"
        )


def step_s(plan: Plan, where: Slice) -> float:
    """The compiler's estimate of a step, without what devices tell each other."""
    return plan.cycles / where.chip.hertz


def links_s(plan: Plan, where: Slice) -> float:
    """The least that all messages of a step take, by what the links promise."""
    return sum(one.sent for one in plan.collectives) / (where.chip.links_gb * GIGA)


def utilisation(plan: Plan, where: Slice) -> float:
    """Share of the chip's peak that the estimate leaves for matrix products counted by hand."""
    return plan.products / (where.chip.tflops * 1e12) / step_s(plan, where)


def _estimate(plan: Plan, where: Slice) -> Iterator[str]:
    took = step_s(plan, where)
    yield "the compiler's estimate; nothing was measured, and real steps take longer"
    yield (
        f"  {took:12.4f} s a step ({plan.cycles / 1e6:,.0f} million cycles at "
        f"{where.chip.hertz / GIGA:.2f} GHz)"
    )
    yield f"  {plan.examples / took:12,.0f} examples/s of all devices"
    share = utilisation(plan, where)
    yield f"  {100 * share:12.1f} % of {where.chip.tflops} TFLOP/s by matrix products"
    if plan.collectives:
        yield (
            f"  {links_s(plan, where):12.4f} s more at least for messages, where they are not "
            "hidden behind arithmetic"
        )
    yield ""
    yield "costliest operations, % of those cycles"
    for cost in plan.costliest:
        yield f"  {100 * cost.cycles / plan.cycles:5.1f}  {cost.line or '-':26} {cost.name}"
