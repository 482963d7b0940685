"""What becomes of memory that a step on a CPU has used."""

import ctypes
import platform

import jax

# glibc's malloc.h
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8

LARGE = 32 << 20  # bytes; glibc takes no higher threshold

COMPILED = "/jax/core/compile/backend_compile_duration"  # what JAX calls it
LONG_S = 1.0  # a compilation that leaves much behind takes longer


def keep_freed_memory() -> None:
    """On CPUs freed memory stays with this process, for its next step, but for `LARGE` pieces.

    glibc hands pieces back to the kernel from 128 KiB on, which then clears every page anew: a
    fifth of the time of small models. A step's scratch memory, which is one piece, may be larger
    than what is kept: kept as well, it came to lie beside holes of its own size, and a process
    grew from 3.2 to 5.8 GiB. To be called before threads of others begin to allocate, and by the
    command line alone: it is a switch of the whole process. What compiling a program needed is
    handed back when that is done. Does nothing without glibc, or where the arrays live on another
    device.
    """
    if platform.libc_ver()[0] != "glibc" or jax.default_backend() != "cpu":
        return
    libc = ctypes.CDLL(None)
    for setting, value in ((M_MMAP_THRESHOLD, LARGE), (M_TRIM_THRESHOLD, -1), (M_ARENA_MAX, 1)):
        libc.mallopt(setting, value)

    def happened(event: str, seconds: float, **_: object) -> None:
        if event == COMPILED and seconds >= LONG_S:
            libc.malloc_trim(0)

    jax.monitoring.register_event_duration_secs_listener(happened)
