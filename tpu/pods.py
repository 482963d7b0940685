"""A run on hundreds of chips, on paper, from the plan of a small slice. Nothing here is measured.

    PYTHONPATH=tpu-compiler d2v inspect --plan v2_image_base --on v5e:2x4 --json plans.json
    python tpu/pods.py plans.json --chips 256

Every chip keeps the work that it has in the plan, so the batch grows with the chips. With n chips:

    step        the compiler's estimate + messages, none of them hidden: a ring of n chips sends
                (n - 1) / n of the bytes where one of m sends (m - 1) / m
    input       bytes of the batch on a chip * chips of a host / step
    pause       state of a chip / rate from chip to host: what a checkpoint takes from training
    upload      whole state / (rate to the bucket * hosts that write): behind the training; the
                least time between two checkpoints. Under mesh=data one copy is written by one host
    lost        half an interval + upload + start: per preemption
    goodput     (1 - pause / interval) * (1 - preemptions a day * lost / 86,400 s)
    interval    sqrt(2 * pause * time between preemptions), at least upload (Young 1974)
"""

import argparse
import dataclasses
import json
import math
import pathlib
from typing import Any

DAY_S = 86_400
STATE = ("student", "teacher", "optimiser")


@dataclasses.dataclass(frozen=True)
class Site:
    """What is assumed of the place; the defaults are guesses to be replaced by measurements."""

    chips: int = 256
    chips_per_host: int = 4  # of slices of several hosts of v4, v5e, v5p and v6e
    to_host_gb: float = 5.0  # GB/s of one chip
    to_bucket_gb: float = 0.5  # GB/s of one host
    start_s: float = 300.0  # a new machine, imports, the kept program, the state read back
    preemptions: float = 1.0  # a day


@dataclasses.dataclass(frozen=True)
class Run:
    """Seconds, bytes and shares of a run."""

    examples: int
    step_s: float
    input_mb: float  # MB/s of a host
    pause_s: float
    upload_s: float
    interval_s: float
    goodput: float


def simulated(plan: dict[str, Any], site: Site) -> Run:
    """A run of a plan's program on all chips of `site`; `plan`: of `d2v inspect --plan --json`."""
    small, growth = plan["devices"], site.chips / plan["devices"]
    ring = ((site.chips - 1) / site.chips) / ((small - 1) / small) if small > 1 else 1.0
    step_s = plan["step_s"] + ring * plan["links_s"]
    held = plan["held"]
    on_chip = sum(held[name] for name in STATE if name in held)
    axes = dict(axis.split(":") for axis in plan["mesh"].split(","))
    cut = int(axes.get("fsdp", 1))
    copies = small if cut == -1 else cut  # chips that hold one copy together
    writers = max(1, copies // site.chips_per_host)
    pause_s = on_chip / (site.to_host_gb * 1e9)
    upload_s = on_chip * copies / (site.to_bucket_gb * 1e9 * writers)
    apart_s = DAY_S / site.preemptions
    interval_s = max(upload_s, math.sqrt(2 * pause_s * apart_s))
    lost_s = interval_s / 2 + upload_s + site.start_s
    return Run(
        examples=round(plan["examples"] * growth),
        step_s=step_s,
        input_mb=held["batch"] * site.chips_per_host / step_s / 1e6,
        pause_s=pause_s,
        upload_s=upload_s,
        interval_s=interval_s,
        goodput=(1 - pause_s / interval_s) * max(0.0, 1 - lost_s / apart_s),
    )


HEADS = (
    "recipe, plan of",
    "examples a step",
    "a step, s",
    "input of a host, MB/s",
    "pause, s",
    "upload, s",
    "a checkpoint every, s",
    "goodput",
)


def table(plans: list[dict[str, Any]], site: Site) -> str:
    """As Markdown; plans without an estimate, which do not fit, are left out."""
    lines = ["| " + " | ".join(HEADS) + " |", "|---" + "|--:" * (len(HEADS) - 1) + "|"]
    for plan in plans:
        if "step_s" not in plan:
            continue
        run = simulated(plan, site)
        lines.append(
            f"| `{plan['recipe']}`, {plan['slice']} | {run.examples:,} | {run.step_s:.2f} | "
            f"{run.input_mb:.0f} | {run.pause_s:.2f} | {run.upload_s:.1f} | {run.interval_s:.0f} | "
            f"{100 * run.goodput:.2f} % |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("plans", nargs="+", type=pathlib.Path, help="of d2v inspect --plan --json")
    for field in dataclasses.fields(Site):
        name = f"--{field.name.replace('_', '-')}"
        parser.add_argument(
            name, type=field.type, default=field.default, help="default %(default)s"
        )
    given = vars(parser.parse_args())
    read = [one for path in given.pop("plans") for one in json.loads(path.read_text())]
    if any(not value > 0 for value in given.values()):
        parser.error("all numbers must be positive")
    print(table(read, Site(**given)))  # noqa: T201
