"""Utterances held whole in memory with their labels, and with their words where those are known."""

import dataclasses
import functools
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from d2v_jax.common.checks import UserError
from d2v_jax.data.audio.inputs import shortest
from d2v_jax.data.audio.waves import RATE, decode, standardise, utterance
from d2v_jax.data.builtin.tones import Script
from d2v_jax.data.labelled import baselines
from d2v_jax.data.labelled.chosen import share
from d2v_jax.data.labelled.exams import TRAIN_SHARE, Encode, Exam, Pair, Task, require_split
from d2v_jax.data.records import BadRecord, Source, Subset

log = logging.getLogger("d2v")

CHUNK = 64  # utterances whose frames are held at once
LONGEST = 8 * RATE  # samples; longer utterances are cut to their beginning


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


def exam(
    source: Source, name: str, conv_layers: Sequence[tuple[int, int, int]], count: int, seed: int
) -> Exam:
    """Whose utterance it is and, where a source knows when words are said, which word it is.

    `conv_layers` are the (width, kernel, stride) of an encoder's convolutions, which say where its
    frames lie.
    """
    field = shortest(conv_layers)
    parts = [labelled_waves(source, name, split, count, seed) for split in ("train", "test")]
    tasks = [
        Task(
            "voice" if name.startswith("builtin:") else "class",
            "utterances",
            tuple(part.labels for part in parts),
        )
    ]
    spoken = [_some_words(part, count, seed) for part in parts]
    if all(part.words for part in parts):
        labels = tuple(
            np.array([word for words in part for word, _, _ in words], np.int32) for part in spoken
        )
        tasks.append(Task("word", "words", labels))

    def features(encode: Encode | None) -> list[Pair]:
        if encode is None:
            run, step, width = _log_mels, baselines.HOP, baselines.WINDOW
        else:
            run = functools.partial(encode, pool=None)
            step, width = math.prod(stride for _, _, stride in conv_layers), field
        wholes, words = [], []
        for part, said in zip(parts, spoken):
            whole_n, word_n = zip(*_pooled(run, step, width, part.waves, said))
            wholes.append(np.stack(whole_n))
            words.append(np.concatenate(word_n))
        return [tuple(wholes), tuple(words)][: len(tasks)]

    return Exam("log-mel", tuple(tasks), features)


def _log_mels(waves: list[np.ndarray]) -> list[np.ndarray]:
    return [baselines.log_mel(standardise(wave_s)) for wave_s in waves]


def _some_words(part: LabelledWaves, count: int, seed: int) -> list[list[tuple[int, int, int]]]:
    """At most `count` of the words, by the utterance they lie in."""
    words = part.words or [[] for _ in part.waves]
    places = [(n, word) for n, said in enumerate(words) for word in said]
    order = np.random.Generator(np.random.Philox(key=[seed, 0])).permutation(len(places))
    chosen: list[list[tuple[int, int, int]]] = [[] for _ in part.waves]
    for place in sorted(order[:count].tolist()):
        n, word = places[place]
        chosen[n].append(word)
    return chosen


def _pooled(
    run: Callable[[list[np.ndarray]], list[np.ndarray]],
    step: int,
    width: int,
    waves: list[np.ndarray],
    words: list[list[tuple[int, int, int]]],
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The mean frame of each wave [d], and those of its words [word, d].

    Frame i sees `width` samples from `step * i` on, and belongs to the word in which its centre
    lies. A word between two centres has the frame that is nearest to its own.
    """
    for start in range(0, len(waves), CHUNK):
        some = slice(start, start + CHUNK)
        for frames_td, said in zip(run(waves[some]), words[some]):
            centres_t = step * np.arange(len(frames_td)) + width / 2
            means = np.empty((len(said), frames_td.shape[1]), np.float32)
            for row, (_, first, last) in enumerate(said):
                inside = np.flatnonzero((first <= centres_t) & (centres_t < last))
                if not len(inside):
                    inside = [np.abs(centres_t - (first + last) / 2).argmin()]
                means[row] = frames_td[inside].mean(0)
            yield frames_td.mean(0), means


def labelled_waves(source: Source, name: str, split: str, count: int, seed: int) -> LabelledWaves:
    """At most `count` utterances of `split`, "train" or "test", of `source`, called `name`.

    A fixed 70/30 division by the hash of each utterance's name; `seed` picks which ones.
    Unreadable records are left out with a warning. Raises `UserError` where there are no labels.
    """
    require_split(split)
    origins = [_origin(source, index) for index in range(len(source))]
    train = np.array([share(one.name(index)) < TRAIN_SHARE for one, index in origins])
    ids = np.flatnonzero(train if split == "train" else ~train)
    if not len(ids):
        raise UserError(
            f"{name!r} is too small: none of its {len(source)} recordings falls to the "
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
            wave_s = utterance(decode(record.data)).samples[:LONGEST]
        except BadRecord as bad:
            log.warning("skipped %s: %s", bad.name or f"record {index}", bad.reason)
            continue
        if record.label is None:
            raise UserError(
                f"{name!r} has no labels, and a probe needs them. Give a --source that has: "
                "a folder with one sub-folder per speaker and no sound file beside them, or "
                "builtin:tones"
            )
        found.append(index)
        waves.append(wave_s)
        labels.append(record.label)
    if not found:
        raise UserError(f"{name!r}: none of its recordings is readable, see the warnings")
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
