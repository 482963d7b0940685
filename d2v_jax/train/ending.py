"""How a call ends that did not simply reach the last step, and what is said then."""

import pathlib
import shlex

import jax

from d2v_jax.common.buckets import Copy
from d2v_jax.common.checks import UserError
from d2v_jax.train.checkpoint import Checkpoints
from d2v_jax.train.loop import Guard
from d2v_jax.train.report import metrics

ANEW = (
    "Lower optimizer.learning_rate, set optimizer.clip, or compute in trunk.dtype=float32, in a "
    "new --workdir"
)


def require_learnt(copy: Copy, step: int) -> None:
    """Raises `UserError` where the last updates of a complete run were not finite."""
    if metrics.ends_unfinished(copy.folder):
        raise UserError(
            f"{copy.run} is complete at step {step}, but its last updates were not finite. {ANEW}"
        )


def diverged(
    workdir: pathlib.Path,
    checkpoints: Checkpoints,
    guard: Guard,
    broken: bool,
    done: int,
    finite: int,
) -> str:
    """What to say of a run whose last update that was finite is number `finite`.

    `broken`: the parameters after step `done` are not. A checkpoint from which no update was
    finite leads nowhere, and is set aside.
    """
    rows = f"the last {guard.row} updates were not finite"
    words = [f"at step {done} the parameters are not finite" if broken else rows]
    good = checkpoints.good(finite)
    if guard.full and jax.process_index() == 0:
        moved = checkpoints.set_aside(finite)
        words += [f"no update from {place.name} on was, so it is in {place} now" for place in moved]
    if good is None:
        words.append("there is no good checkpoint")
        return f"{'; '.join(words)}. {ANEW}"
    words.append(f"checkpoint {good} is good")
    return f"{'; '.join(words)}. {ANEW} with --config.init_from={workdir}"


def stopped(workdir: pathlib.Path, command: str, by: str, done: int, saved: int) -> str:
    """What to say of a run that can be continued."""
    kept = "everything" if saved == done else f"step {saved}" if saved else "nothing"
    return (
        f"Stopped by {by} at step {done}; {kept} is saved. Go on with:\n"
        f"  d2v {command} --workdir {shlex.quote(str(workdir))}"
    )
