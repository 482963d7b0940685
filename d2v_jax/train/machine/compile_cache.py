"""Compiled programs are kept between calls, where nobody else can write."""

import hashlib
import logging
import os
import pathlib
import platform
import stat

import jax

from d2v_jax.common.files import cache_folder

log = logging.getLogger("d2v")

MOST_BYTES = 8 * 2**30  # then the ones that were not used for longest go
SETTING = "JAX_COMPILATION_CACHE_DIR"


def enable() -> None:
    """Turns the cache on in `cache_folder()`, unless the user's own JAX settings say where or off.

    Programs are machine code that JAX loads and runs: a folder that others own or may write to
    is not used. Each kind of processor has its own, for home folders that machines share.
    """
    if SETTING in os.environ or jax.config.jax_compilation_cache_dir:
        return
    folder = cache_folder() / "xla" / processor()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        why = unsafe(folder)
    except OSError as error:
        why = f"cannot be made: {error.strerror}"
    if why:
        log.warning("compiled programs are not kept: %s %s", folder, why)
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_compilation_cache_max_size", MOST_BYTES)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)


def unsafe(folder: pathlib.Path) -> str | None:
    """Why this folder is not safe to load programs from; None if it is."""
    if not hasattr(os, "getuid"):
        return None
    found = folder.stat()
    if found.st_uid != os.getuid():
        return "belongs to another user"
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return "can be written to by others; chmod 700"
    if not os.access(folder, os.W_OK):
        return "cannot be written to"
    return None


def processor() -> str:
    """A name for what this machine's processor can do."""
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else [platform.processor()]
    able = [line for line in lines if line.startswith(("flags", "Features", "model name"))][:2]
    return hashlib.sha256("\n".join([platform.machine(), *able]).encode()).hexdigest()[:12]
