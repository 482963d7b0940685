"""Waves of people, for features: whole recordings of a folder, and batches of padded waves."""

import logging
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from d2v_jax.common.checks import UserError
from d2v_jax.data.audio.recordings import SOUNDS
from d2v_jax.data.audio.sound_files import RATE
from d2v_jax.data.audio.waves import standardise, standardised
from d2v_jax.data.records import BadRecord
from d2v_jax.data.requests import Batch, Named, by_length
from d2v_jax.data.stores.folder import Folder

log = logging.getLogger("d2v")

PADDED = 16_000  # samples that the shortest batch of waves is padded to
# Samples in a batch: on a CPU rows take their time one by one, and one short input should not
# wait for many.
SMALL, LARGE = 16 * 16_000, 8 * 30 * 16_000


def shortest(conv_layers: Sequence[tuple[int, int, int]]) -> int:
    """Samples that one frame sees, behind (width, kernel, stride) of each convolution."""
    samples = 1
    for _, kernel, stride in reversed(conv_layers):
        samples = (samples - 1) * stride + kernel
    return samples


def cut(waves: Sequence[Any], least: int, large: bool, raw: bool) -> Iterator[Batch]:
    """Waves [s] of any lengths in padded batches, those that are `raw` standardised.

    An example's batch has a shape that follows from its own length alone. Raises `UserError` for
    what is no wave at 16 kHz of at least `least` samples.
    """
    ready = []
    for i, wave_s in enumerate(waves):
        wave_s = np.asarray(wave_s)
        if wave_s.ndim != 1 or wave_s.dtype.kind not in "fi":
            raise UserError(
                f"wave {i} is {wave_s.dtype} {list(wave_s.shape)}; give a list of waves, each "
                "with its samples [s] at 16 kHz, float or int16"
            )
        if wave_s.dtype.kind == "i" and wave_s.dtype != np.int16:
            raise UserError(f"wave {i} is {wave_s.dtype}; of the integers only int16 is known")
        if not np.isfinite(wave_s).all():
            raise UserError(f"wave {i} holds NaN or infinity")
        if len(wave_s) < least:
            raise UserError(f"wave {i} has {len(wave_s)} samples; one frame needs {least}")
        ready.append(standardise(wave_s) if raw else np.float32(wave_s))
    for length, order in by_length([len(w) for w in ready], PADDED).items():
        size = max(1, (LARGE if large else SMALL) // length)
        for start in range(0, len(order), size):
            part = order[start : start + size]
            padded_bs, lengths_b = np.zeros((size, length), np.float32), np.zeros(size, np.int32)
            for row, index in enumerate(part):
                lengths_b[row] = len(ready[index])
                padded_bs[row, : lengths_b[row]] = ready[index]
            # They are standardised: the frontend has nothing to take off or to scale.
            as_it_is = {"offset": np.zeros(size, np.float32), "scale": np.ones(size, np.float32)}
            yield Batch(part, {"inputs": padded_bs, **as_it_is}, lengths_b)


def of_folder(path: pathlib.Path, least: int, seconds: float) -> Named:
    """The waves of a folder, standardised and cut to `seconds`; shorter than `least` are skipped.

    Raises `UserError` where the folder is missing or empty, or `seconds` too few.
    """
    most = int(seconds * RATE)
    if most < least:
        raise UserError(f"--max-seconds {seconds:g} is too short; one frame needs {least / RATE:g}")
    named = Named(iter(()), f"{seconds:g} seconds (--max-seconds)")
    named.examples = _long_enough(folder_waves(path, most), least, named)
    return named


def _long_enough(
    waves: Iterator[tuple[str, np.ndarray, int]], least: int, named: Named
) -> Iterator[tuple[str, np.ndarray]]:
    for name, wave_s, whole in waves:
        if whole < least:
            log.warning("skipped %s: %d samples at 16 kHz, one frame needs %d", name, whole, least)
            named.skipped += 1
            continue
        named.cut += whole > len(wave_s)
        yield name, wave_s


def folder_waves(
    path: str | os.PathLike, max_samples: int | None = None
) -> Iterator[tuple[str, np.ndarray, int]]:
    """Every readable sound file under `path`: (relative name, wave float32 [s], full length).

    Waves are 16 kHz mono, standardised as a whole and then cut to `max_samples`; the full
    length is the number of samples before that cut. Raises `UserError` at once for a missing or
    empty folder; files that cannot be read are left out with a warning each and their number at
    the end.
    """
    return _waves(Folder(path, SOUNDS), max_samples)


def _waves(folder: Folder, max_samples: int | None) -> Iterator[tuple[str, np.ndarray, int]]:
    skipped = 0
    for index, name in enumerate(folder.names):
        try:
            wave_s, whole = standardised(folder.read(index).data, max_samples)
        except BadRecord as bad:
            skipped += 1
            log.warning("skipped %s: %s", name, bad.reason)
            continue
        yield name, wave_s, whole
    if skipped:
        log.warning("%d of %d files in %s were skipped", skipped, len(folder), folder.root)
