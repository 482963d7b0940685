"""How one system lies in the originals' files: its key map and the names of older files."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from d2v_jax.interop import keymap
from d2v_jax.interop.keymap import Constant, Rule

Names = Callable[[Mapping[str, Any]], dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Layout:
    """`teacher` is what the teacher averages, `copies` what it keeps as a copy of the student.

    The keys of both are the teacher's. `student_names` and `teacher_names` turn the names of
    older files into those that the rules know. `keymap.invert(tree, layout.student,
    layout.student_constants)` writes what the originals read.
    """

    student: list[Rule]
    teacher: list[Rule]
    student_constants: list[Constant]
    teacher_constants: list[Constant]
    student_names: Names
    teacher_names: Names
    copies: list[Rule] = dataclasses.field(default_factory=list)

    def convert_student(self, flat: Mapping[str, Any]) -> dict[str, Any]:
        """Anything with the student's names and layouts, as gradients have -> our tree.

        Constants may be absent.
        """
        constants = _optional(self.student_constants)
        return keymap.convert(self.student_names(flat), self.student, constants)[0]

    def convert_teacher(self, flat: Mapping[str, Any]) -> dict[str, Any]:
        """Anything with the teacher's names and layouts -> what it owns and its copies."""
        constants, rules = _optional(self.teacher_constants), [*self.teacher, *self.copies]
        return keymap.convert(self.teacher_names(flat), rules, constants)[0]


def rename(flat: Mapping[str, Any], name: Callable[[str], str | None]) -> dict[str, Any]:
    """`flat` under other names; None drops an array.

    Where the new name is taken the old one stays, to be found left over.
    """
    modern: dict[str, Any] = {}
    for key, value in flat.items():
        new = name(key)
        if new is not None:
            modern[key if new in flat or new in modern else new] = value
    return modern


def _optional(constants: list[Constant]) -> list[Constant]:
    return [dataclasses.replace(constant, required=False) for constant in constants]
