"""Utterances held whole in memory with their labels, and what is said when where that is known."""

import dataclasses
import functools
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from d2v_jax.common.checks import UserError
from d2v_jax.data.audio.alignments import Span
from d2v_jax.data.audio.inputs import shortest
from d2v_jax.data.audio.sound_files import RATE
from d2v_jax.data.audio.waves import standardise, utterance
from d2v_jax.data.labelled import baselines
from d2v_jax.data.labelled.chosen import share
from d2v_jax.data.labelled.exams import TRAIN_SHARE, Encode, Exam, Pair, Task, require_split
from d2v_jax.data.records import BadRecord, Source, Subset
from d2v_jax.data.stores.folder import numbered

log = logging.getLogger("d2v")

CHUNK = 64  # utterances whose frames are held at once
LONGEST = 8 * RATE  # samples; longer utterances are cut to their beginning
RASTER = RATE // 50  # samples between the instants that may be asked which phone is said

Spans = list[list[Span]]  # of each utterance


@runtime_checkable
class Aligned(Protocol):
    """A source that knows which words and phones are said when."""

    def said(self, index: int) -> dict[str, list[Span]]:
        """By "word" and "phone", what is known of a record."""
        ...


@dataclasses.dataclass(frozen=True)
class LabelledWaves:
    """Waves int16 [s] at 16 kHz, their labels int32 [n] and record ids int32 [n].

    `said` holds the words and phones of each wave that lie in it wholly, by "word" and "phone",
    where they are known of every one.
    """

    waves: list[np.ndarray]
    labels: np.ndarray
    ids: np.ndarray
    said: dict[str, Spans]


def exam(
    source: Source, name: str, conv_layers: Sequence[tuple[int, int, int]], count: int, seed: int
) -> Exam:
    """Whose utterance it is and, where a source knows, which word it is and which phone.

    A word is asked about by the mean of its frames, a phone by the one frame nearest to an instant
    in it. `conv_layers` are the (width, kernel, stride) of an encoder's convolutions, which say
    where its frames lie.
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
    asked: list[tuple[Spans, ...]] = []
    for task, noun, places in (("word", "words", _whole), ("phone", "frames", _instants)):
        if all(task in part.said for part in parts):
            spans = tuple(_some(places(part.said[task]), count, seed) for part in parts)
            if all(map(any, spans)):
                asked.append(spans)
                tasks.append(Task(task, noun, _numbers(spans)))

    def features(encode: Encode | None) -> list[Pair]:
        if encode is None:
            run, step, width = _log_mels, baselines.HOP, baselines.WINDOW
        else:
            run = functools.partial(encode, pool=None)
            step, width = math.prod(stride for _, _, stride in conv_layers), field
        sides = []
        for side, part in enumerate(parts):
            spans = [one[side] for one in asked]
            rows = list(zip(*_pooled(run, step, width, part.waves, spans)))
            sides.append([np.stack(rows[0]), *map(np.concatenate, rows[1:])])
        return list(zip(*sides))

    return Exam("log-mel", tuple(tasks), features)


def _log_mels(waves: list[np.ndarray]) -> list[np.ndarray]:
    return [baselines.log_mel(standardise(wave_s)) for wave_s in waves]


def _whole(spans: Spans) -> Spans:
    return spans


def _instants(spans: Spans) -> Spans:
    """Spans of no length in them, on a raster."""
    return [
        [(label, at, at) for label, first, last in said for at in range(first, last, RASTER)]
        for said in spans
    ]


def _some(spans: Spans, count: int, seed: int) -> Spans:
    """At most `count` of them, by the utterance they lie in."""
    places = [(n, span) for n, said in enumerate(spans) for span in said]
    order = np.random.Generator(np.random.Philox(key=[seed, 0])).permutation(len(places))
    chosen: Spans = [[] for _ in spans]
    for place in sorted(order[:count].tolist()):
        n, span = places[place]
        chosen[n].append(span)
    return chosen


def _numbers(sides: tuple[Spans, ...]) -> tuple[np.ndarray, ...]:
    """The labels of both sides as int32 [n] each, which count the same names."""
    labels = [[label for said in spans for label, _, _ in said] for spans in sides]
    _, number_n = numbered([*labels[0], *labels[1]])
    return tuple(np.split(number_n, [len(labels[0])]))


def _pooled(
    run: Callable[[list[np.ndarray]], list[np.ndarray]],
    step: int,
    width: int,
    waves: list[np.ndarray],
    asked: Sequence[Spans],
) -> Iterator[list[np.ndarray]]:
    """Of each wave the mean frame [d], and for each of `asked` those of its spans [span, d].

    Frame i sees `width` samples from `step * i` on, and belongs to the span in which its centre
    lies. A span between two centres has the frame that is nearest to its own.
    """
    for start in range(0, len(waves), CHUNK):
        some = slice(start, start + CHUNK)
        for frames_td, *said in zip(run(waves[some]), *(spans[some] for spans in asked)):
            centres_t = step * np.arange(len(frames_td)) + width / 2
            means = [_means(frames_td, centres_t, spans) for spans in said]
            yield [frames_td.mean(0), *means]


def _means(frames_td: np.ndarray, centres_t: np.ndarray, spans: list[Span]) -> np.ndarray:
    means = np.empty((len(spans), frames_td.shape[1]), np.float32)
    for row, (_, first, last) in enumerate(spans):
        inside = np.flatnonzero((first <= centres_t) & (centres_t < last))
        if not len(inside):
            inside = [np.abs(centres_t - (first + last) / 2).argmin()]
        means[row] = frames_td[inside].mean(0)
    return means


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
            wave_s = utterance(record.data, LONGEST).samples
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
    each = [_within(said(source, index), len(wave_s)) for index, wave_s in zip(found, waves)]
    known = {task: [one[task] for one in each] for task in each[0] if all(task in s for s in each)}
    return LabelledWaves(waves, np.array(labels, np.int32), np.array(found, np.int32), known)


def _origin(source: Source, index: int) -> tuple[Source, int]:
    """The source behind subsets, and the record's number there."""
    while isinstance(source, Subset):
        source, index = source.source, int(source.indices[index])
    return source, index


def knows(source: Source) -> bool:
    """Whether it may know when words and phones are said."""
    return isinstance(_origin(source, 0)[0], Aligned)


def said(source: Source, index: int) -> dict[str, list[Span]]:
    """What is known of when a record's words and phones are said, {} where nothing is."""
    origin, place = _origin(source, index)
    return origin.said(place) if isinstance(origin, Aligned) else {}


def _within(spoken: dict[str, list[Span]], samples: int) -> dict[str, list[Span]]:
    return {task: [span for span in spans if span[2] <= samples] for task, spans in spoken.items()}
