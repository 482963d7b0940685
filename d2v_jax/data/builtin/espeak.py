"""espeak-ng, a small formant synthesiser that speaks many voices: where it is, and what it says."""

import dataclasses
import importlib.util
import json
import pathlib
import struct
import subprocess
import sys
from collections.abc import Sequence

import numpy as np

from d2v_jax.common.checks import UserError
from d2v_jax.data.builtin import speak

# As the system's linker knows it, then where Homebrew puts it.
NAMES = (
    "libespeak-ng.so.1",
    "libespeak-ng.so",
    "libespeak-ng.1.dylib",
    "libespeak-ng.dylib",
    "/opt/homebrew/lib/libespeak-ng.dylib",
    "/usr/local/lib/libespeak-ng.dylib",
)


@dataclasses.dataclass(frozen=True)
class Espeak:
    """An installed espeak-ng. `data` is "" where the library knows where its data are."""

    library: str
    data: str
    version: str


@dataclasses.dataclass(frozen=True)
class Line:
    """What to say, and how: `speed` in words per minute, `pitch` and `spread` from 0 to 99."""

    voice: str
    speed: int
    pitch: int
    spread: int
    text: str


@dataclasses.dataclass(frozen=True)
class Spoken:
    """int16 [s], samples per second, and the phones with the sample that each begins at."""

    wave_s: np.ndarray
    rate: int
    phones: list[tuple[str, int]]


def find() -> Espeak:
    """The system's espeak-ng, else that of the package espeakng-loader.

    Raises `UserError`, saying how to install one of them.
    """
    places = [(name, "") for name in NAMES]
    if importlib.util.find_spec("espeakng_loader") is not None:
        import espeakng_loader

        places.append(
            (str(espeakng_loader.get_library_path()), str(espeakng_loader.get_data_path()))
        )
    done = _run([], [library for library, _ in places])
    number, found = json.loads(done.stdout) if not done.returncode else (-1, _last_line(done))
    if number >= 0:
        return Espeak(*places[number], found)
    raise UserError(
        f"data.source='builtin:speech' is spoken by espeak-ng, which is not installed ({found}). "
        "Install it: apt install espeak-ng, brew install espeak-ng, or pip install "
        "'d2v_jax[speech]'. builtin:tones needs nothing"
    )


def _run(arguments: Sequence[str], asked: object) -> subprocess.CompletedProcess[bytes]:
    program = [sys.executable, "-I", str(pathlib.Path(speak.__file__)), *arguments]
    return subprocess.run(
        program, input=json.dumps(asked).encode(), capture_output=True, check=False
    )


def _last_line(done: subprocess.CompletedProcess[bytes]) -> str:
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"status {done.returncode}"


def say(espeak: Espeak, lines: Sequence[Line]) -> list[Spoken]:
    """What each line sounds like, one after the other in a process of its own.

    The same for the same lines, wherever that version of espeak-ng runs on the same system.
    """
    done = _run([espeak.library, espeak.data], [dataclasses.astuple(line) for line in lines])
    if done.returncode:
        raise UserError(
            f"espeak-ng {espeak.version} ({espeak.library}) failed: {_last_line(done)}. Install "
            "it again, or take builtin:tones"
        )
    found, at = [], 0
    while at < len(done.stdout):
        samples, rate, told = struct.unpack_from("=III", done.stdout, at)
        wave_s = np.frombuffer(done.stdout, np.int16, samples, at + 12)
        at += 12 + 2 * samples
        phones = [(name, first) for name, first in json.loads(done.stdout[at : at + told])]
        at += told
        found.append(Spoken(wave_s, rate, phones))
    return found
