"""Groups of someone else's configuration fields; every complaint names the field and its value."""

import math
from collections.abc import Mapping
from typing import Any

from d2v_jax.common.checks import UserError
from d2v_jax.interop.allowed import printable

# What a field may be compared with; arrays compare to arrays.
PLAIN = (str, int, float, type(None))


class Section:
    """A group of their fields, by the name it has in the file."""

    def __init__(self, name: str, fields: Any) -> None:
        if not isinstance(fields, Mapping):
            raise UserError(
                f"{name} should be a group of fields, but is {brief(fields)}; the checkpoint "
                "must carry the configuration it was trained with"
            )
        self.name, self.fields = name, fields

    def section(self, field: str) -> "Section":
        """A group inside this one."""
        return Section(f"{self.name}.{field}", self.fields.get(field))

    def optional(self, field: str) -> "Section":
        """A group inside this one, empty where it is absent or no group."""
        fields = self.fields.get(field)
        return Section(f"{self.name}.{field}", fields if isinstance(fields, Mapping) else {})

    def only(self, expected: Mapping[str, Any]) -> None:
        """Refuses fields whose value our model cannot represent; absent ones pass."""
        for field, value in expected.items():
            got = self.fields.get(field, value)
            if not isinstance(got, PLAIN) or got != value:
                raise UserError(f"{self.name}.{field}={brief(got)}: our model only knows {value!r}")

    def equal(self, one: str, other: str) -> None:
        """Refuses two fields that differ; our model has one for both."""
        a, b = (self.number(name, 0, 1e9, 0) for name in (one, other))
        if a != b:
            raise UserError(
                f"{self.name}.{one}={a} and {self.name}.{other}={b}: our model only knows equal "
                "ones"
            )

    def integer(self, field: str, low: int, high: int, default: int | None = None) -> int:
        """A whole number, required unless there is a default."""
        value = self.number(field, low, high, default)
        if value != int(value):
            raise UserError(f"{self.name}.{field}={value} must be a whole number")
        return int(value)

    def number(self, field: str, low: float, high: float, default: float | None = None) -> float:
        """A number, required unless there is a default."""
        value = self.fields.get(field, default)
        good = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not good or not math.isfinite(value) or not low <= value <= high:
            raise UserError(
                f"{self.name}.{field}={brief(value)} must be a number from {low} to {high}"
            )
        return value

    def flag(self, field: str, default: bool = False) -> bool:
        """A switch; absent means the default."""
        value = self.fields.get(field, default)
        if not isinstance(value, bool):
            raise UserError(f"{self.name}.{field}={brief(value)} must be true or false")
        return value

    def word(self, field: str) -> str:
        """A name, empty where there is none."""
        value = self.fields.get(field)
        return value if isinstance(value, str) else ""

    def text(self, field: str) -> str:
        """A required word."""
        value = self.fields.get(field)
        if not isinstance(value, str):
            raise UserError(f"{self.name}.{field}={brief(value)} must be text")
        return value


def brief(value: Any) -> str:
    """A value of the file's, fit for a message."""
    if isinstance(value, bool | float | None):
        return repr(value)
    if isinstance(value, int) and abs(value) < 10**18:
        return repr(value)
    return repr(printable(value)) if isinstance(value, str) else printable(value)
