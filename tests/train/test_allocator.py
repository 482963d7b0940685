"""Who may throw a switch of the whole process."""

import pathlib
import platform
import subprocess
import sys

import pytest

import d2v_jax
from d2v_jax.cli import main
from d2v_jax.common.checks import UserError
from d2v_jax.measure import step_bench as bench
from d2v_jax.train import pretrain
from d2v_jax.train.machine import allocator


@pytest.mark.parametrize(
    "words",
    [["pretrain", "--config", "quickstart_image:smoke"], ["bench", "step", "quickstart_image"]],
    ids=" ".join,
)
def test_the_command_line_sets_the_allocator_before_anything_runs(monkeypatch, tmp_path, words):
    done = []

    def work(*_, **__):
        done.append("work")
        raise UserError("enough")

    monkeypatch.setattr(allocator, "keep_freed_memory", lambda: done.append("allocator"))
    monkeypatch.setattr(pretrain, "pretrain", work)
    monkeypatch.setattr(bench, "bench", work)
    where = ["--workdir", str(tmp_path / "run")] if words[0] == "pretrain" else []
    assert main.main([*words, *where]) == 2
    assert done == ["allocator", "work"]


def test_no_library_call_sets_the_allocator():
    """A notebook that trains keeps its own."""
    package = pathlib.Path(d2v_jax.__file__).parent
    call = "allocator.keep_freed_memory("
    users = [path for path in package.rglob("*.py") if call in path.read_text()]
    names = {path.relative_to(package).parts[0].removesuffix(".py") for path in users}
    assert names == {"cli"}


COMPILE = """
import jax, jax.numpy as jnp
from d2v_jax.train.machine import allocator
handed_back = []
class Libc:
    mallopt = lambda self, setting, value: None
    malloc_trim = lambda self, kept: handed_back.append(kept)
allocator.ctypes.CDLL = lambda name: Libc()
allocator.keep_freed_memory()
jax.jit(lambda x: x + 1)(jnp.zeros(3))
print(handed_back)
allocator.LONG_S = 0.0
jax.jit(lambda x: x + 2)(jnp.zeros(3))
print(handed_back)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a switch of glibc")
def test_what_a_long_compilation_needed_is_handed_back():
    done = subprocess.run([sys.executable, "-c", COMPILE], capture_output=True, text=True)
    assert done.stdout == "[]\n[0]\n", done.stderr


PIECES = """
import ctypes, pathlib
from d2v_jax.train.machine import allocator
allocator.keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
resident = lambda: int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * 4096
def left_of(size):
    before, piece = resident(), libc.malloc(size)
    ctypes.memset(piece, 1, size)
    assert resident() - before > 0.9 * size
    libc.free(piece)
    return (resident() - before) / size
print(round(left_of(24 << 20)), round(left_of(256 << 20)))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a switch of glibc")
def test_of_freed_memory_all_but_large_pieces_is_kept():
    done = subprocess.run([sys.executable, "-c", PIECES], capture_output=True, text=True)
    assert done.stdout == "1 0\n", done.stderr
