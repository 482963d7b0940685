"""Which exceptions are no fault of ours, what is said of them, and with which code a task ends."""

import os
import re
import traceback
from typing import NamedTuple

from d2v_jax.common import buckets
from d2v_jax.common.checks import MachineError, UserError


class Trouble(NamedTuple):
    words: str
    code: int


def sentence_of(error: BaseException) -> Trouble | None:
    """What to say of an error that somebody or something outside the program caused."""
    if isinstance(error, UserError):
        return Trouble(str(error), error.code)
    if said := buckets.trouble(error):
        return Trouble(said, MachineError.code)
    if isinstance(error, OSError) and error.errno is not None:
        where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, FILE) else ""
        return Trouble(where + (error.strerror or os.strerror(error.errno)), MachineError.code)
    if isinstance(error, MemoryError):
        what = f" ({error})" if str(error) else ""
        return Trouble(f"there is not enough memory{what}; {SMALLER}", MachineError.code)
    if isinstance(error, RuntimeError):
        return _of_jax(str(error))
    if isinstance(error, AssertionError) and _raised_in(error) == "xla_bridge.py":
        return _no_device("JAX found none")
    return None


def _raised_in(error: BaseException) -> str:
    """The name of the file that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    return os.path.basename(frames[-1].filename) if frames else ""


FILE = (str, bytes, os.PathLike)
SMALLER = "d2v inspect --plan RECIPE says how much a step needs and what takes less"


def _no_device(why: str) -> Trouble:
    asked = os.environ.get("JAX_PLATFORMS")
    named = f"JAX_PLATFORMS={asked}: " if asked else ""
    return Trouble(
        f"{named}there is no such device, or JAX has no part for it ({why}); unset "
        "JAX_PLATFORMS, or install what the device needs, such as jax[cuda12] or jax[tpu]",
        UserError.code,
    )


def _of_jax(words: str) -> Trouble | None:
    """JAX and XLA tell the machine's troubles from others by their first words alone."""
    first = words.strip().splitlines()[0] if words.strip() else ""
    if re.match(r"Unable to initialize backend|Unknown backend|No visible .* devices", first):
        return _no_device(re.sub(r" \(set JAX_PLATFORMS.*", "", first)[:300])
    if first.startswith("RESOURCE_EXHAUSTED"):
        return Trouble(
            f"there is not enough memory on a device: {first[:300]}; {SMALLER}", MachineError.code
        )
    return None
