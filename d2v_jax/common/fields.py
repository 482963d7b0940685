"""Fields of a recipe's records: what a value may be stands with the field, and is checked at the
door.

    @dataclasses.dataclass(frozen=True)
    class Crops:
        samples: int = positive()
        resize: str = one_of("exact", "fast")
        threads: int = not_negative(free=True)

A *free* field may differ between two calls on one run folder: it says when and how something is
done, never what is learnt.
"""

import dataclasses
import difflib
from collections.abc import Callable, Iterator
from typing import Any

from d2v_jax.common.checks import ConfigError, require

Check = Callable[[str, Any], None]  # (name, value); raises ConfigError


def anything(free: bool = False) -> Any:
    """A field whose type says all."""
    return dataclasses.field(metadata={"check": None, "free": free})


def positive(free: bool = False) -> Any:
    """A number above 0."""
    return _bounded(lambda value: value > 0, "must be positive", free)


def not_negative(free: bool = False) -> Any:
    """A number from 0 on."""
    return _bounded(lambda value: value >= 0, "must not be negative", free)


def share(free: bool = False) -> Any:
    """A number from 0 to 1."""
    return _bounded(lambda value: 0 <= value <= 1, "must lie between 0 and 1", free)


def below_one(free: bool = False) -> Any:
    """A number from 0 on and below 1, such as a rate of dropout."""
    return _bounded(lambda value: 0 <= value < 1, "must lie in [0, 1)", free)


def one_of(*known: str, free: bool = False) -> Any:
    """One of these words."""
    check = lambda name, value: require_one_of(name, value, known)
    return dataclasses.field(metadata={"check": check, "free": free})


def _bounded(holds: Callable[[Any], bool], words: str, free: bool) -> Any:
    def check(name: str, value: Any) -> None:
        require(holds(value), f"{name}={value} {words}")

    return dataclasses.field(metadata={"check": check, "free": free})


def require_one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    """Raises `ConfigError` unless `value` is one of the named alternatives."""
    if value not in known:
        close = difflib.get_close_matches(str(value), known, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ConfigError(f"{name}={value!r} is not one of {', '.join(map(repr, known))}{hint}")


def require_multiple(name: str, value: int, of_name: str, of: int) -> None:
    """Raises `ConfigError` unless `value` is a multiple of `of`."""
    require(value % of == 0, f"{name}={value} is not a multiple of {of_name}={of}")


def check(record: Any, section: str) -> None:
    """Checks each field of a record by itself; `section` is its name in the recipe."""
    for field in dataclasses.fields(record):
        if one := field.metadata.get("check"):
            one(f"{section}.{field.name}", getattr(record, field.name))


def free(record: Any, section: str) -> Iterator[str]:
    """The names of a record's free fields."""
    for field in dataclasses.fields(record):
        if field.metadata.get("free"):
            yield f"{section}.{field.name}"
