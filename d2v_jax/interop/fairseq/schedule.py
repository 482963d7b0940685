"""How a fairseq run was optimised, as far as its file tells it."""

import re
from typing import Any

from d2v_jax.common.checks import UserError
from d2v_jax.interop.allowed import printable
from d2v_jax.interop.sections import Section

MOST = 2**40  # steps


def apply(fields: dict[str, Any], cfg: Section) -> None:
    """Sets the recipe's optimizer and length from a run with Adam on one of the known schedules.

    A file that says nothing of the kind leaves the base recipe's. Raises UserError for a field
    that is no number.
    """
    run, optimizer = cfg.optional("optimization"), cfg.optional("optimizer")
    scheduler, rates = cfg.optional("lr_scheduler"), run.fields.get("lr")
    rate = rates[0] if isinstance(rates, list) and rates else rates
    if optimizer.word("_name") == "composite":  # §4.1: a schedule for each group
        group = optimizer.optional("groups").optional("default")
        optimizer, scheduler = group.optional("optimizer"), group.optional("lr_scheduler")
        rate = group.fields.get("lr_float", rate)
    known = {"cosine": _cosine, "tri_stage": _tri_stage}.get(scheduler.word("_name"))
    if known is None or optimizer.word("_name") != "adam" or "max_update" not in run.fields:
        return
    peak = float(Section(run.name, {"lr": rate}).number("lr", 1e-12, 1e3))
    steps = run.integer("max_update", 1, MOST)
    shape = known(scheduler, peak, steps)
    if shape["warmup_steps"] + shape["hold_steps"] > steps:
        return
    b1, b2 = _betas(optimizer)
    fields["optimizer"] |= shape | {
        "learning_rate": peak,
        "adam": "fairseq",
        "b1": b1,
        "b2": b2,
        "eps": float(optimizer.number("adam_eps", 0, 1, 1e-8)),
        "weight_decay": float(optimizer.number("weight_decay", 0, 1e3, 0)),
        "decays": "all",  # T19
        "clip": float(run.number("clip_norm", 0, 1e9, 0)),
    }
    fields["train"]["steps"] = steps


def _cosine(scheduler: Section, peak: float, steps: int) -> dict[str, Any]:
    return {
        "schedule": "cosine",
        "warmup_steps": scheduler.integer("warmup_updates", 0, MOST, 0),
        "hold_steps": 0,
        "start_share": 0.0,
        "end_share": min(1.0, scheduler.number("min_lr", 0, 1e3, 0) / peak),
    }


def _tri_stage(scheduler: Section, peak: float, steps: int) -> dict[str, Any]:
    """Exponential decay, whatever the paper says (T25)."""
    shares = scheduler.fields.get("phase_ratio")
    if shares is None:
        warmup = scheduler.integer("warmup_steps", 0, MOST, 0)
        hold = scheduler.integer("hold_steps", 0, MOST, 0)
    else:
        numbers = _numbers(f"{scheduler.name}.phase_ratio", shares, 3)
        warmup, hold = (int(steps * share) for share in numbers[:2])
    return {
        "schedule": "exponential",
        "warmup_steps": warmup,
        "hold_steps": hold,
        "start_share": float(scheduler.number("init_lr_scale", 0, 1, 0.01)),
        "end_share": float(scheduler.number("final_lr_scale", 1e-12, 1, 0.01)),
    }


def _betas(optimizer: Section) -> tuple[float, float]:
    name = f"{optimizer.name}.adam_betas"
    b1, b2 = _numbers(name, optimizer.fields.get("adam_betas", "(0.9, 0.999)"), 2)
    if not (b1 < 1 and b2 < 1):
        raise UserError(f"{name}=({b1}, {b2}) must be below 1")
    return b1, b2


def _numbers(name: str, value: Any, count: int) -> list[float]:
    """The numbers of a list, or of "(0.9, 0.98)"."""
    found = value
    if isinstance(value, str) and len(value) < 100:
        found = [float(n) for n in re.findall(r"\d+(?:\.\d*)?(?:e-?\d{1,2})?|\.\d+", value)]
    good = isinstance(found, list | tuple) and all(
        isinstance(n, int | float) and 0 <= n < 1e9 for n in found
    )
    if not good or len(found) != count:
        raise UserError(f"{name}={printable(value)!r} must be {count} numbers")
    return [float(n) for n in found]
