"""Where things are kept that take long to make and can be made again."""

import os
import pathlib
import secrets


def cache_folder() -> pathlib.Path:
    """$D2V_CACHE, else d2v_jax in $XDG_CACHE_HOME or ~/.cache. It need not exist."""
    if own := os.environ.get("D2V_CACHE"):
        return pathlib.Path(own).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return pathlib.Path(shared).expanduser() / "d2v_jax"


def write_whole(path: pathlib.Path, data: bytes) -> None:
    """Writes a file that others see complete or not at all, however many write it at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    try:
        part.write_bytes(data)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
