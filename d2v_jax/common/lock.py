"""One process at a time works in a folder; who it is can be read there."""

import contextlib
import errno
import fcntl
import json
import logging
import os
import pathlib
import platform
import time
from collections.abc import Iterator
from typing import Any

from d2v_jax.common.checks import UserError

log = logging.getLogger("d2v")

FILE = ".lock"
# Of file systems that know no locks, and of folders that nobody may write to.
UNKNOWN = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)
CLOSED = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextlib.contextmanager
def held(folder: pathlib.Path, remedy: str) -> Iterator[None]:
    """Keeps the existing `folder` from all others until it is left, or until this process ends.

    The kernel holds the lock (of an NFS its server, for all machines): it goes with the process,
    however that dies. Where a file system has none, the name and number in the file must do:
    they keep out processes of the same machine. Raises `UserError` naming the holder.
    """
    path = folder / FILE
    file = _taken(path, remedy)
    if file is None:
        yield
        return
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()  # while it is held: nobody can have taken it over
        os.close(file)


def _taken(path: pathlib.Path, remedy: str) -> int | None:
    while True:
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            if error.errno in CLOSED:  # what is written there later says so itself
                return None
            raise
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(file)
            os.close(file)
            raise _refusal(path, holder, remedy) from None
        except OSError as error:
            holder = _holder(file)
            if error.errno not in UNKNOWN:
                os.close(file)
                raise
            if _lives_here(holder):
                os.close(file)
                raise _refusal(path, holder, remedy) from None
            log.warning(
                "%s: this file system has no locks; see to it that no other machine works there",
                path.parent,
            )
        if _is_still(file, path):
            break
        os.close(file)  # its holder removed it between our two calls
    mine = {"host": platform.node(), "pid": os.getpid(), "begun": time.strftime("%F %T %z")}
    os.truncate(file, 0)
    os.pwrite(file, json.dumps(mine).encode() + b"\n", 0)
    return file


def _is_still(file: int, path: pathlib.Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


def _holder(file: int) -> dict[str, Any]:
    try:
        found = json.loads(os.pread(file, 4096, 0))
    except ValueError:  # it is about to write its name
        return {}
    return found if isinstance(found, dict) else {}


def _lives_here(holder: dict[str, Any]) -> bool:
    pid = holder.get("pid")
    if holder.get("host") != platform.node() or not isinstance(pid, int) or pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _refusal(path: pathlib.Path, holder: dict[str, Any], remedy: str) -> UserError:
    known = {"pid", "host", "begun"} <= holder.keys()
    who = "another process"
    if known:
        who = f"process {holder['pid']} on {holder['host']}, since {holder['begun']},"
    return UserError(f"{path.parent} is in use: {who} works there; {remedy}")
