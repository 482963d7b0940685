"""Files that others see complete or not at all, and the folder for what can be made again."""

import contextlib
import logging
import os
import pathlib
import secrets
import tempfile
from collections.abc import Iterator

from d2v_jax.common.names import ESCAPED

log = logging.getLogger("d2v")

PART = ".part"  # ends the name of a file that is being written
BUCKET = "gs://"  # begins the name of what is not on a disk; `common.buckets`


def cache_folder() -> pathlib.Path:
    """$D2V_CACHE, else d2v_jax in $XDG_CACHE_HOME or ~/.cache. It need not exist."""
    if own := os.environ.get("D2V_CACHE"):
        return pathlib.Path(own).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return pathlib.Path(shared).expanduser() / "d2v_jax"


def on_disk(path: str | os.PathLike) -> bool:
    return not os.fspath(path).startswith(BUCKET)


@contextlib.contextmanager
def named(path: pathlib.Path) -> Iterator[None]:
    """An `OSError` in it says which file: an open one that cannot be written does not."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = os.fspath(path)
        raise


@contextlib.contextmanager
def written_whole(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """The path of a file to write beside `path`, whose place it takes when all went well.

    By then it is on the disk. Others see the file before or after, however many write it at
    once, and whenever this process is killed; what is left of it then is hidden and ends in
    `PART`. Raises `OSError` as the file system does. What goes into a bucket is written to a
    temporary folder first.
    """
    if not on_disk(path):
        with tempfile.TemporaryDirectory(prefix="d2v-") as folder:
            local = pathlib.Path(folder, path.name)
            yield local
            path.write_bytes(local.read_bytes())
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}{PART}")
    try:
        with named(path):
            yield part
            keep(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_whole(path: pathlib.Path, data: bytes | str) -> None:
    """Bytes, or text in UTF-8, by `written_whole`."""
    with written_whole(path) as part:
        part.write_bytes(data.encode(errors=ESCAPED) if isinstance(data, str) else data)


def keep_if_possible(path: pathlib.Path, text: str, what: str) -> bool:
    """`write_whole`, of what is on the screen as well: says so where it cannot be kept."""
    try:
        write_whole(path, text)
    except OSError as error:
        log.warning("%s: %s; the %s is not kept", path, error.strerror or error, what)
        return False
    return True


def keep(part: pathlib.Path, path: pathlib.Path) -> None:
    """Gives a complete file its name, once it is on the disk."""
    with open(part, "rb") as file:
        os.fsync(file.fileno())
    os.replace(part, path)
