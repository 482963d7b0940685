"""How recordings are cut with soundfile alone, for `d2v data bench`."""

import dataclasses
import functools
import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import soundfile
import soxr

from d2v_jax.data.audio import waves
from d2v_jax.data.audio.sound_files import RATE, Part, Stored
from d2v_jax.data.contests.contest import PLAIN, Contest
from d2v_jax.data.records import BadRecord, Record


def contest(records: Sequence[tuple[Record, int]]) -> Contest | None:
    """Crops of `records`, with the length of each; None where none of them is a file."""
    files = []
    for record, length in records:
        if isinstance(record.data, np.ndarray):
            continue  # synthesised, or decoded by the source: there is no file to read
        try:
            standard = waves.standard_of(record.data)
            plain_sound(record.data, length, _rng(0))
        except (BadRecord, soundfile.SoundFileError, ValueError):
            continue
        known = dataclasses.replace(record, standard=standard, learn=None)
        files.append((record, known, length))
    if not files:
        return None
    stored = all(record.standard is not None for record, _, _ in files)

    def calls(number: int) -> dict[str, Callable[[], Any]]:
        record, known, length = files[number % len(files)]
        crop = functools.partial(waves.random_crop, samples=length)
        made = {
            PLAIN: lambda: plain_sound(record.data, length, _rng(number)),
            "crops, what standardises them known": lambda: crop(known, _rng(number)),
        }
        if not stored:
            fresh = dataclasses.replace(record, standard=None, learn=None)
            made["crops, each recording for the first time"] = lambda: crop(fresh, _rng(number))
        return made

    return Contest("soundfile: read the file, cut; not standardised", calls)


def plain_sound(data: Stored, samples: int, rng: np.random.Generator) -> np.ndarray:
    """float32 [s] of one file, which is read as a whole."""
    place: dict[str, int] = {}
    if isinstance(data, Part):
        if data.packed:
            data = b"".join(data.contents())
        else:
            data, place = data.path, {"start": data.first, "frames": data.length}
    given = io.BytesIO(data) if isinstance(data, bytes) else data
    wave_s, rate = soundfile.read(given, dtype="float32", **place)
    if wave_s.ndim == 2:
        wave_s = wave_s.mean(axis=1)
    if rate != RATE:
        wave_s = soxr.resample(wave_s, rate, RATE)
    start = int(rng.integers(len(wave_s) - samples + 1))
    return wave_s[start : start + samples]


def _rng(number: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=number))
