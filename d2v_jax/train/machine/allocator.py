"""What becomes of memory that a step on a CPU has used."""

import ctypes
import platform

import jax

# glibc's malloc.h
M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8

COMPILED = "/jax/core/compile/backend_compile_duration"  # what JAX calls it
LONG_S = 1.0  # a compilation that leaves much behind takes longer


def keep_freed_memory() -> None:
    """On CPUs freed memory stays with this process, for its next step.

    XLA asks for its scratch memory in every step. glibc hands large pieces back to the kernel
    each time, which then clears every page anew: a fifth of the time of small models. To be
    called before threads of others begin to allocate, and by the command line alone: it is a
    switch of the whole process. What compiling a program needed is handed back when that is done.
    Does nothing without glibc, or where the arrays live on another device.
    """
    if platform.libc_ver()[0] != "glibc" or jax.default_backend() != "cpu":
        return
    libc = ctypes.CDLL(None)
    for setting, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, -1), (M_ARENA_MAX, 1)):
        libc.mallopt(setting, value)

    def happened(event: str, seconds: float, **_: object) -> None:
        if event == COMPILED and seconds >= LONG_S:
            libc.malloc_trim(0)

    jax.monitoring.register_event_duration_secs_listener(happened)
