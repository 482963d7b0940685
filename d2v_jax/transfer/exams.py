"""What features are asked in each modality: examples with labels, and how features are made."""

import dataclasses
import math
from collections.abc import Callable, Iterator

import numpy as np

from d2v_jax.common.checks import UserError
from d2v_jax.data.audio.waves import standardise
from d2v_jax.data.config import AudioData, ImageData, TextData
from d2v_jax.data.labelled.images import labelled_images
from d2v_jax.data.labelled.sounds import LabelledWaves, labelled_waves
from d2v_jax.data.labelled.texts import labelled_texts
from d2v_jax.data.sources import JOIN
from d2v_jax.train.recipe.resolve import Config
from d2v_jax.transfer import baselines, batches
from d2v_jax.transfer.encoder import Encoder

CHUNK = 64  # utterances whose frames are held at once

Pair = tuple[np.ndarray, np.ndarray]  # of the examples to learn from, and of those to test


@dataclasses.dataclass(frozen=True)
class Task:
    """Which class does each example belong to? `noun`: what one is, in the plural."""

    name: str
    noun: str
    labels: Pair  # int32 [n] each


@dataclasses.dataclass(frozen=True)
class Exam:
    """`features(encoder, layer)` gives float32 [n, d] pairs, one per task; None: the baseline."""

    baseline: str
    tasks: tuple[Task, ...]
    features: Callable[[Encoder | None, str | int], list[Pair]]


def prepare(recipe: Config, source: str, count: int, seed: int) -> Exam:
    """Reads labelled examples of `source`, at most `count` to learn from and as many to test."""
    if JOIN in source:
        raise UserError(
            f"{source!r} are several sources, of which a probe cannot tell the labels; name one "
            "with --source"
        )
    data = dataclasses.replace(recipe.data, source=source)
    match data:
        case AudioData():
            return _sounds(data, recipe, count, seed)
        case ImageData():
            return _images(data, count, seed)
        case TextData():
            return _texts(data, recipe, count, seed)


def _images(data: ImageData, count: int, seed: int) -> Exam:
    parts = [labelled_images(data, split, count, seed) for split in ("train", "test")]

    def features(one: Encoder | None, layer: str | int) -> list[Pair]:
        run = baselines.pixels if one is None else lambda images: one.features(images, layer)
        return [tuple(run(part.images) for part in parts)]

    return Exam("pixels", (Task("class", "images", tuple(p.labels for p in parts)),), features)


def _texts(data: TextData, recipe: Config, count: int, seed: int) -> Exam:
    batches.open_tokenizer(recipe)  # raises where the model lacks ids of it
    parts = labelled_texts(data, count, seed)

    def features(one: Encoder | None, layer: str | int) -> list[Pair]:
        if one is None:
            ids = recipe.objective.cfg.frontend.vocab_size
            return [tuple(baselines.token_counts(part.texts, ids) for part in parts)]
        return [tuple(one.features(part.texts, layer) for part in parts)]

    return Exam("tokens", (Task("document", "passages", tuple(p.labels for p in parts)),), features)


def _sounds(data: AudioData, recipe: Config, count: int, seed: int) -> Exam:
    """Whose utterance it is and, where a source knows when words are said, which word it is."""
    conv_layers = recipe.objective.cfg.frontend.conv_layers
    field = batches.shortest_wave(conv_layers)
    # Pretraining wants long recordings; here all count.
    data = dataclasses.replace(data, samples=field, min_samples=field, buckets=())
    parts = [labelled_waves(data, split, count, seed) for split in ("train", "test")]
    tasks = [Task("voice" if data.source.startswith("builtin:") else "class", "utterances",
                  tuple(part.labels for part in parts))]  # fmt: skip
    spoken = [_some_words(part, count, seed) for part in parts]
    if all(part.words for part in parts):
        labels = tuple(np.array([word for words in part for word, _, _ in words], np.int32)
                       for part in spoken)  # fmt: skip
        tasks.append(Task("word", "words", labels))

    def features(one: Encoder | None, layer: str | int) -> list[Pair]:
        if one is None:
            run = lambda waves: [baselines.log_mel(standardise(wave_s)) for wave_s in waves]
            step, width = baselines.HOP, baselines.WINDOW
        else:
            run = lambda waves: one.features(waves, layer, pool=None)
            step, width = math.prod(stride for _, _, stride in conv_layers), field
        wholes, words = [], []
        for part, said in zip(parts, spoken):
            whole_n, word_n = zip(*_pooled(run, step, width, part.waves, said))
            wholes.append(np.stack(whole_n))
            words.append(np.concatenate(word_n))
        return [tuple(wholes), tuple(words)][: len(tasks)]

    return Exam("log-mel", tuple(tasks), features)


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
