"""Inputs of any length, cut into batches of few shapes for a compiled encoder."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from d2v_jax.common.checks import UserError
from d2v_jax.data import audio, tokenizer
from d2v_jax.data.config import AudioData, ImageData, TextData
from d2v_jax.data2vec.model import Model
from d2v_jax.train.config import Config

IMAGES = 64  # per batch
SAMPLES = 8 * 30 * 16_000  # per batch of waves: eight of half a minute
IDS = 64 * 128  # per batch of texts
SHORTEST = 16_000  # samples that the shortest batch of waves is padded to


class Batch(NamedTuple):
    """`inputs`: (values, valid lengths or None); row i is input `order[i]`, later rows fill."""

    order: list[int]
    inputs: tuple[np.ndarray, np.ndarray | None]


def cut(recipe: Config, inputs: Any) -> Iterator[Batch]:
    """Inputs as `Encoder.features` takes them. Raises `UserError` for what does not fit.

    An example's batch has a shape that follows from its own length alone.
    """
    if not isinstance(inputs, Sequence | np.ndarray) or isinstance(inputs, str):
        raise UserError(f"inputs are a {type(inputs).__name__}; give an array or a list")
    if not len(inputs):
        raise UserError("there is nothing to encode; give at least one example")
    match recipe.data:
        case ImageData():
            return _images(recipe, np.asarray(inputs))
        case AudioData():
            return _waves(recipe, inputs)
        case TextData():
            return _texts(recipe, inputs)


def _images(recipe: Config, images_byxc: np.ndarray) -> Iterator[Batch]:
    shape = recipe.data.example_shape
    if images_byxc.ndim != 4 or images_byxc.shape[1:] != shape:
        raise UserError(
            f"images of shape {images_byxc.shape} do not fit this encoder; it "
            f"takes [b, {', '.join(map(str, shape))}]"
        )
    if images_byxc.dtype != np.uint8:
        raise UserError(f"images are {images_byxc.dtype}; give uint8 pixels from 0 to 255")
    model = Model(recipe.model)
    for start in range(0, len(images_byxc), IMAGES):
        part = images_byxc[start : start + IMAGES]
        padded = np.zeros((IMAGES, *shape), np.uint8)
        padded[: len(part)] = part
        order = list(range(start, start + len(part)))
        yield Batch(order, tuple(model.prepare({"inputs": padded})))


def _waves(recipe: Config, waves: Sequence[Any]) -> Iterator[Batch]:
    least = shortest_wave(recipe.model.frontend.conv_layers)
    ready = []
    for i, wave_s in enumerate(waves):
        wave_s = np.asarray(wave_s)
        if wave_s.ndim != 1 or wave_s.dtype.kind not in "fi":
            raise UserError(
                f"wave {i} is {wave_s.dtype} {list(wave_s.shape)}; give samples [s] at 16 kHz, "
                "float or int16"
            )
        if wave_s.dtype.kind == "i" and wave_s.dtype != np.int16:
            raise UserError(f"wave {i} is {wave_s.dtype}; of the integers only int16 is known")
        if not np.isfinite(wave_s).all():
            raise UserError(f"wave {i} holds NaN or infinity")
        if len(wave_s) < least:
            raise UserError(f"wave {i} has {len(wave_s)} samples; one frame needs {least}")
        ready.append(audio.standardise(wave_s))
    for length, order in _by_length([len(w) for w in ready], SHORTEST).items():
        size = max(1, SAMPLES // length)
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


def _texts(recipe: Config, texts: Sequence[Any]) -> Iterator[Batch]:
    front, most = recipe.model.frontend, recipe.model.frontend.max_tokens
    encode, ready = None, []
    for i, text in enumerate(texts):
        if isinstance(text, str):
            encode = encode or tokenizer.open_tokenizer(recipe.data.tokenizer)
            lines = [line.strip() for line in text.splitlines() if line.strip()]
            text = np.concatenate([[0], encode.encode(lines)])
        ids_t = np.asarray(text)
        if ids_t.ndim != 1 or ids_t.dtype.kind != "i" or not len(ids_t):
            raise UserError(f"text {i} is neither a string nor a row of integer ids")
        if ids_t.min() < 0 or ids_t.max() >= front.vocab_size:
            raise UserError(
                f"text {i} has ids from {ids_t.min()} to {ids_t.max()}; this encoder knows 0 to "
                f"{front.vocab_size - 1}"
            )
        if len(ids_t) > most:
            raise UserError(
                f"text {i} has {len(ids_t)} tokens, this encoder's positions end at {most}; "
                "split it or cut it"
            )
        ready.append(ids_t)
    for length, order in _by_length([len(t) for t in ready], 16).items():
        length = min(length, most)
        size = max(1, IDS // length)
        for start in range(0, len(order), size):
            part = order[start : start + size]
            padded = np.full((size, length), front.pad_id, np.int32)
            for row, index in enumerate(part):
                padded[row, : len(ready[index])] = ready[index]
            yield Batch(part, (padded, None))


def _by_length(lengths: Sequence[int], shortest: int) -> dict[int, list[int]]:
    """Padded length -> inputs that are padded to it: powers of two and halves between them."""
    groups: dict[int, list[int]] = {}
    for index, length in enumerate(lengths):
        size = shortest
        while size * 3 // 2 < length:
            size *= 2
        groups.setdefault(size if length <= size else size * 3 // 2, []).append(index)
    return dict(sorted(groups.items()))
