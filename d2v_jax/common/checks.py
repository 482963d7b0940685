"""Errors that people can act on."""

import os
import re

# What would speak to a terminal instead of to people; files and their names may hold any of it.
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")


def visible(text: str) -> str:
    """The same words with control codes written out; lines still end."""
    return CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)


class UserError(Exception):
    """Something outside the program is wrong: a file, a field, a workdir.

    The message names the thing, its value and the remedy. The command line prints it
    without a traceback; a traceback is for our own bugs. `code` is the exit code.
    """

    code = 2

    def __str__(self) -> str:
        return visible(super().__str__())


class MachineError(UserError):
    """The machine is in trouble: a full disk, a missing permission, a folder that went away."""

    code = 74  # EX_IOERR of sysexits.h


class ConfigError(UserError):
    """A recipe field is unknown, of the wrong type or impossible with the others."""


def require(condition: bool, message: str) -> None:
    """Raises `ConfigError(message)` unless the condition holds."""
    if not condition:
        raise ConfigError(message)


def require_utf8(path: str | os.PathLike, held: str) -> None:
    """Raises `UserError` for a path that the libraries of what is `held` there cannot take."""
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError:
        raise UserError(
            f"{path}: {held} cannot lie below a name that is not UTF-8; rename it or choose another"
        ) from None
