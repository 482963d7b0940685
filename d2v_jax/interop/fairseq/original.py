"""A checkpoint of the originals, sorted: whose weights, under which names, which configuration."""

import dataclasses
import logging
from collections.abc import Mapping
from typing import Any

import numpy as np

from d2v_jax.common.checks import UserError
from d2v_jax.interop.allowed import printable
from d2v_jax.interop.sections import Section

log = logging.getLogger("d2v")


@dataclasses.dataclass(frozen=True)
class Original:
    """What a file holds.

    `student`, `teacher`, `head`: arrays by name. The student's names are those of a pre-trained
    model; `prefix` stands in front of them in the file, `teacher_prefix` says where the
    teacher's are. `head_kind`: "ctc", "audio_classes", "image_classes", "text_classes" or None
    as pre-trained. `cfg`: the configuration of pre-training; `told`: it is what the weights tell.
    """

    system: str
    student: dict[str, Any]
    teacher: dict[str, Any] | None
    head: dict[str, Any]
    head_kind: str | None
    prefix: str
    teacher_prefix: str
    cfg: Section
    told: bool = False

    @property
    def finetuned(self) -> bool:
        """A file of a task: it may lack what only pre-training needs."""
        return self.head_kind is not None

    @property
    def trained(self) -> bool:
        """Whether `cfg` says how the model was pre-trained."""
        return not self.finetuned and not self.told

    def shape(self, key: str, dims: int) -> tuple[int, ...]:
        """The shape of one of the student's arrays, for what no configuration tells."""
        return shape(self.student, key, dims, self.prefix)


def shape(flat: Mapping[str, Any], key: str, dims: int, prefix: str = "") -> tuple[int, ...]:
    """The shape of an array that must be there with so many axes, none of them empty."""
    value = flat.get(key)
    if not isinstance(value, np.ndarray):
        found = "is missing" if value is None else f"is {printable(value)}, not a tensor"
        raise UserError(f"{prefix}{key} {found}; the size of the model cannot be told without it")
    if value.ndim != dims or 0 in value.shape:
        raise UserError(
            f"{prefix}{key} has shape {value.shape}, where {dims} axes with something in them "
            "belong"
        )
    return value.shape


def dtype(cfg: Section, default: str) -> str:
    """What the original computed in; the default where it does not say."""
    common = cfg.optional("common")
    names = [n for n in ("fp16", "bf16", "memory_efficient_fp16") if n in common.fields]
    if not names:
        return default
    return "bfloat16" if any(common.flag(name) for name in names) else "float32"


def last_blocks(section: Section, field: str, depth: int) -> tuple[int, ...]:
    """The numbers of the last K blocks."""
    count = section.integer(field, 1, depth)
    return tuple(range(depth - count, depth))


def mlp_ratio(width: int, hidden: int) -> float:
    """The ratio that gives exactly this many hidden units, whatever floats round to."""
    ratio = hidden / width
    return ratio if int(width * ratio) == hidden else float(np.nextafter(ratio, np.inf))


def window(section: Section, field: str, layers: int) -> int:
    """The length of each window in a stack of convolutions that together reach `field` (§1.3)."""
    return max(3, section.integer(field, 1, 10_000) // layers)
