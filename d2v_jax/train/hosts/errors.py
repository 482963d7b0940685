"""What ends a run of several processes from outside, and how it is said."""

from typing import Any

from d2v_jax.common.checks import UserError

LOST = 76  # exit code of a process whose run lost another one: start all of them again


class Missing(UserError):
    """Another process does not answer; it may come back."""

    code = LOST


def named(indices: list[int]) -> str:
    """ "process 1" or "processes 1, 2"."""
    return ("process " if len(indices) == 1 else "processes ") + ", ".join(map(str, indices))


def error_of(message: dict[str, Any]) -> UserError:
    """What process 0 tells when the start ends."""
    return (Missing if message.get("missing") is True else UserError)(str(message["error"]))
