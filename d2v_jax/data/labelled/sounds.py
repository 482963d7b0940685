"""Utterances held whole in memory with their labels, and with their words where those are known."""

import dataclasses
import logging
from typing import Protocol, runtime_checkable

import numpy as np

from d2v_jax.common.checks import UserError, require
from d2v_jax.data.audio import waves
from d2v_jax.data.builtin.tones import Script
from d2v_jax.data.config import AudioData
from d2v_jax.data.labelled.images import TRAIN_SHARE, share
from d2v_jax.data.records import BadRecord, Source, Subset
from d2v_jax.data.sources import open_audio

log = logging.getLogger("d2v")

LONGEST = 8 * waves.RATE  # samples; longer utterances are cut to their beginning


@runtime_checkable
class Scripted(Protocol):
    """A source that knows which word is said when."""

    def script(self, index: int) -> Script: ...


@dataclasses.dataclass(frozen=True)
class LabelledWaves:
    """Waves int16 [s] at 16 kHz, their labels int32 [n] and record ids int32 [n].

    `words` holds (word, first sample, one past its last) of each wave, those that lie in it
    wholly; None where nobody knows.
    """

    waves: list[np.ndarray]
    labels: np.ndarray
    ids: np.ndarray
    words: list[list[tuple[int, int, int]]] | None


def labelled_waves(cfg: AudioData, split: str, count: int, seed: int) -> LabelledWaves:
    """At most `count` utterances of `split`, "train" or "test", with their labels.

    A fixed 70/30 division by the hash of each utterance's name; `seed` picks which ones.
    Unreadable records are left out with a warning. Raises `UserError` where there are no labels.
    """
    require(split in ("train", "test"), f"split={split!r}: must be 'train' or 'test'")
    source = open_audio(cfg)
    origins = [_origin(source, index) for index in range(len(source))]
    train = np.array([share(one.name(index)) < TRAIN_SHARE for one, index in origins])
    ids = np.flatnonzero(train if split == "train" else ~train)
    if not len(ids):
        raise UserError(
            f"{cfg.source!r} is too small: none of its {len(source)} recordings falls to the "
            f"{split} part; add recordings, or probe on another --source"
        )
    order = np.random.Generator(np.random.Philox(key=[seed, split == "test"])).permutation(ids)
    found: list[int] = []
    waves: list[np.ndarray] = []
    labels: list[int] = []
    for index in order.tolist():
        if len(found) == count:
            break
        try:
            record = source.read(index)
            wave_s = waves.utterance(waves.decode(record.data)).samples[:LONGEST]
        except BadRecord as bad:
            log.warning("skipped %s: %s", bad.name or f"record {index}", bad.reason)
            continue
        if record.label is None:
            raise UserError(
                f"{cfg.source!r} has no labels, and a probe needs them. Give a --source that has: "
                "a folder with one sub-folder per speaker and no sound file beside them, or "
                "builtin:tones"
            )
        found.append(index)
        waves.append(wave_s)
        labels.append(record.label)
    if not found:
        raise UserError(f"{cfg.source!r}: none of its recordings is readable, see the warnings")
    words = None
    if all(isinstance(origins[index][0], Scripted) for index in found):
        words = [_words(*origins[index], len(wave_s)) for index, wave_s in zip(found, waves)]
    return LabelledWaves(waves, np.array(labels, np.int32), np.array(found, np.int32), words)


def _origin(source: Source, index: int) -> tuple[Source, int]:
    """The source behind subsets, and the record's number there."""
    while isinstance(source, Subset):
        source, index = source.source, int(source.indices[index])
    return source, index


def _words(source: Scripted, index: int, samples: int) -> list[tuple[int, int, int]]:
    return [word for word in source.script(index).words if word[2] <= samples]
