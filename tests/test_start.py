"""What a process settles before it reads anything large."""

import os
import subprocess
import sys

import pytest

from d2v_jax.cli import start


@pytest.fixture
def begins_anew(monkeypatch, tmp_path):
    """Sets the kernel's mode, what the environment says and glibc's version -> what is executed."""

    def ask(mode, said=None, version="glibc 2.36", fails=False):
        done = []

        def execv(program, argv):
            done.append((program, argv, os.environ[start.TUNABLES]))
            if fails:
                raise PermissionError(13, "no")

        modes = tmp_path / "enabled"
        if mode:
            modes.write_text(mode)
        monkeypatch.setattr(start, "THP", modes)
        monkeypatch.setattr(os, "confstr", lambda name: version)
        monkeypatch.setattr(os, "execv", execv)
        monkeypatch.setattr(sys, "orig_argv", ["python", "-X", "dev", "/bin/d2v", "bench"])
        monkeypatch.delenv(start.TUNABLES, raising=False)
        if said is not None:
            monkeypatch.setenv(start.TUNABLES, said)
        start.ask_for_huge_pages()
        return done

    return ask


def test_where_the_kernel_waits_to_be_asked_the_same_words_are_begun_anew(begins_anew):
    ((program, argv, said),) = begins_anew("always [madvise] never\n")
    assert program == sys.executable
    assert argv == [sys.executable, "-X", "dev", "/bin/d2v", "bench"]
    assert said == "glibc.malloc.hugetlb=1"


def test_other_tunables_stay(begins_anew):
    ((_, _, said),) = begins_anew("always [madvise] never\n", said="glibc.malloc.arena_max=2")
    assert said == "glibc.malloc.arena_max=2:glibc.malloc.hugetlb=1"


@pytest.mark.parametrize(
    "case",
    [
        {"mode": "[always] madvise never\n"},
        {"mode": "always madvise [never]\n"},
        {"mode": None},
        {"mode": "always [madvise] never\n", "said": "glibc.malloc.hugetlb=0"},
        {"mode": "always [madvise] never\n", "version": "glibc 2.31"},
        {"mode": "always [madvise] never\n", "version": None},
    ],
    ids=["always", "never", "no such file", "has said", "older glibc", "no glibc"],
)
def test_elsewhere_nothing_is_begun_anew(begins_anew, case):
    assert begins_anew(**case) == []


def test_what_cannot_be_begun_anew_goes_on(begins_anew):
    assert len(begins_anew("always [madvise] never\n", fails=True)) == 1


def test_the_command_ends_as_it_would_and_begins_anew_once():
    """By the real command, on whatever machine this is."""
    command = [sys.executable, "-m", "d2v_jax.cli", "pretrain", "--config", "no such recipe"]
    done = subprocess.run([*command, "--workdir", "w"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and "no such recipe" in done.stderr, done.stderr
    assert len(done.stderr.splitlines()) == 1
