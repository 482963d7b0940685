"""The console script. What only a process that begins can have is settled here, before imports."""

import os
import pathlib
import sys

THP = pathlib.Path("/sys/kernel/mm/transparent_hugepage/enabled")
TUNABLES, HUGE = "GLIBC_TUNABLES", "glibc.malloc.hugetlb"
KNOWN_SINCE = (2, 35)  # of glibc


def entry() -> None:
    """What `d2v` calls."""
    ask_for_huge_pages()
    from d2v_jax.cli.main import main

    sys.exit(main())


def ask_for_huge_pages() -> None:
    """Begins this process anew where memory comes in pieces of 4 KiB for want of asking.

    A step on a CPU goes through gigabytes, and the kernel clears and maps each piece: a tenth of
    the time. glibc asks for larger ones if it is told to before it starts, and alone where the
    kernel's setting is `madvise`. Who has said something of it is left alone.
    """
    said = os.environ.get(TUNABLES, "")
    if HUGE in said or _glibc() < KNOWN_SINCE or not sys.executable:
        return
    try:
        if "[madvise]" not in THP.read_text():
            return
        os.environ[TUNABLES] = ":".join(filter(None, (said, f"{HUGE}=1")))
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    except OSError:
        return  # as it was


def _glibc() -> tuple[int, ...]:
    """Its version; nothing where there is none."""
    try:
        name, _, version = os.confstr("CS_GNU_LIBC_VERSION").partition(" ")
        return tuple(int(part) for part in version.split(".")) if name == "glibc" else ()
    except (AttributeError, ValueError, OSError):
        return ()
