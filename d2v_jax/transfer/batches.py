"""Inputs of any length, cut into batches of few shapes for a compiled encoder."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from d2v_jax.common.checks import UserError
from d2v_jax.data.config import AudioData, ImageData, TextData
from d2v_jax.data.text import rows, tokenizer
from d2v_jax.data2vec.model import Model
from d2v_jax.train.recipe.resolve import Config

SHORTEST = 16_000  # samples that the shortest batch of waves is padded to


class Size(NamedTuple):
    """Of a batch: images, samples of waves, ids of texts."""

    images: int
    samples: int
    ids: int


# A batch always has its full size, so that a result does not depend on how many there were.
# On a CPU rows take their time one by one, and one short input should not wait for many.
CPU = Size(8, 16 * 16_000, 8 * 128)
ACCELERATOR = Size(64, 8 * 30 * 16_000, 64 * 128)


class Batch(NamedTuple):
    """`inputs`: (values, valid lengths or None); row i is input `order[i]`, later rows fill."""

    order: list[int]
    inputs: tuple[np.ndarray, np.ndarray | None]


def cut(recipe: Config, inputs: Any, standardise: bool = True) -> Iterator[Batch]:
    """Inputs as `Encoder.features` takes them. Raises `UserError` for what does not fit.

    An example's batch has a shape that follows from its own length alone. `standardise`: waves
    are raw, to be standardised here.
    """
    if isinstance(inputs, str | bytes | dict) or not hasattr(inputs, "__len__"):
        raise UserError(f"inputs are a {type(inputs).__name__}; give an array or a list")
    if hasattr(inputs, "__array__"):
        inputs = np.asarray(inputs)
        if not inputs.ndim:
            raise UserError("inputs are a single number; give an array or a list")
    if not len(inputs):
        raise UserError("there is nothing to encode; give at least one example")
    size = CPU if jax.default_backend() == "cpu" else ACCELERATOR
    match recipe.data:
        case ImageData():
            return _images(recipe, inputs, size.images)
        case AudioData():
            return _waves(recipe, inputs, size.samples, standardise)
        case TextData():
            return _texts(recipe, inputs, size.ids)


def _images(recipe: Config, images: Any, size: int) -> Iterator[Batch]:
    shape = recipe.data.example_shape
    wanted = f"[b, {', '.join(map(str, shape))}]"
    try:
        images_byxc = np.asarray(images)
    except ValueError:
        raise UserError(
            f"the images differ in shape; this encoder takes {wanted}, so crop or resize them"
        ) from None
    if images_byxc.ndim != 4 or images_byxc.shape[1:] != shape:
        raise UserError(
            f"images of shape {images_byxc.shape} do not fit this encoder; it takes {wanted}"
        )
    if images_byxc.dtype != np.uint8:
        raise UserError(f"images are {images_byxc.dtype}; give uint8 pixels from 0 to 255")
    model = Model(recipe.objective.cfg)
    for start in range(0, len(images_byxc), size):
        part = images_byxc[start : start + size]
        padded = np.zeros((size, *shape), np.uint8)
        padded[: len(part)] = part
        order = list(range(start, start + len(part)))
        yield Batch(order, tuple(model.prepare({"inputs": padded})))


def _waves(
    recipe: Config, waves: Sequence[Any], samples: int, standardise: bool
) -> Iterator[Batch]:
    least = shortest_wave(recipe.objective.cfg.frontend.conv_layers)
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
        ready.append(waves.standardise(wave_s) if standardise else np.float32(wave_s))
    for length, order in _by_length([len(w) for w in ready], SHORTEST).items():
        size = max(1, samples // length)
        for start in range(0, len(order), size):
            part = order[start : start + size]
            padded, lengths = np.zeros((size, length), np.float32), np.zeros(size, np.int32)
            for row, index in enumerate(part):
                lengths[row] = len(ready[index])
                padded[row, : lengths[row]] = ready[index]
            yield Batch(part, (padded, lengths))


def shortest_wave(conv_layers: Sequence[tuple[int, int, int]]) -> int:
    """Samples that one frame sees."""
    samples = 1
    for _, kernel, stride in reversed(conv_layers):
        samples = (samples - 1) * stride + kernel
    return samples


def _texts(recipe: Config, texts: Sequence[Any], count: int) -> Iterator[Batch]:
    front, most = recipe.objective.cfg.frontend, recipe.objective.cfg.frontend.max_tokens
    known, ready = None, []
    for i, words in enumerate(texts):
        if isinstance(words, str):
            known = known or open_tokenizer(recipe)
            lines = [line.strip() for line in words.splitlines() if line.strip()]
            if not lines:
                raise UserError(f"text {i} is empty; leave it out")
            words = np.concatenate([[rows.BOS], known.encode(lines)])
        ids_t = np.asarray(words)
        if ids_t.ndim != 1 or ids_t.dtype.kind not in "iu" or not len(ids_t):
            raise UserError(f"text {i} is neither a string nor a row of integer ids")
        if ids_t.min() < 0 or ids_t.max() >= front.vocab_size:
            raise UserError(
                f"text {i} has ids from {ids_t.min()} to {ids_t.max()}; this encoder knows 0 to "
                f"{front.vocab_size - 1}"
            )
        real = np.flatnonzero(ids_t != front.pad_id)
        if not len(real) or real[-1] >= len(real):
            raise UserError(
                f"text {i} has padding (id {front.pad_id}) before its end; padding may only follow"
            )
        if len(real) > most:
            raise UserError(
                f"text {i} has {len(real)} tokens, this encoder's positions end at {most}; "
                "split it or cut it"
            )
        ready.append(ids_t[: len(real)])
    for length, order in _by_length([len(t) for t in ready], 16).items():
        length = min(length, most)
        size = max(1, count // length)
        for start in range(0, len(order), size):
            part = order[start : start + size]
            padded = np.full((size, length), front.pad_id, np.int32)
            for row, index in enumerate(part):
                padded[row, : len(ready[index])] = ready[index]
            yield Batch(part, (padded, None))


def open_tokenizer(recipe: Config) -> tokenizer.Tokenizer:
    """The tokenizer of a recipe of text. Raises `UserError` where the model lacks ids of it."""
    found, front = tokenizer.tokenizer_of(recipe.data), recipe.objective.cfg.frontend
    if found.vocab_size > front.vocab_size:
        raise UserError(
            f"data.tokenizer={recipe.data.tokenizer!r} has {found.vocab_size} ids, this encoder "
            f"{front.vocab_size}; use the tokenizer it was trained with"
        )
    return found


def _by_length(lengths: Sequence[int], shortest: int) -> dict[int, list[int]]:
    """Padded length -> inputs that are padded to it: powers of two and halves between them."""
    groups: dict[int, list[int]] = {}
    for index, length in enumerate(lengths):
        size = shortest
        while size * 3 // 2 < length:
            size *= 2
        groups.setdefault(size if length <= size else size * 3 // 2, []).append(index)
    return dict(sorted(groups.items()))
