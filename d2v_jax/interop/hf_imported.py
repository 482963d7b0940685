"""What reading a checkpoint gives."""

import dataclasses
from typing import Any

from d2v_jax.interop.keymap import Report


@dataclasses.dataclass(frozen=True)
class Imported:
    """A checkpoint in our terms: see the readers for what each leaves empty."""

    system: str
    config: dict[str, Any]
    student: dict[str, Any]
    teacher: dict[str, Any] | None
    copies: dict[str, Any] | None
    head: dict[str, Any] | None
    report: Report
