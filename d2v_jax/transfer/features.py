"""Features of a folder of images, sounds or texts, as one npz file."""

import dataclasses
import logging
import os
import pathlib
import time
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from d2v_jax.common.checks import UserError
from d2v_jax.data.audio.waves import RATE
from d2v_jax.data.config import AudioData, ImageData, TextData
from d2v_jax.data.inputs import folder_waves, text_documents
from d2v_jax.data.labelled.images import folder_images
from d2v_jax.transfer import batches, encoder
from d2v_jax.transfer.encoder import Encoder

log = logging.getLogger("d2v")

CHUNK = 2**25  # numbers in the inputs that are held and encoded together
MOST = 2048  # inputs that are
EVERY = 5.0  # seconds between two lines of progress


@dataclasses.dataclass
class Tally:
    """What became of the inputs, beside those that were encoded."""

    cut: int = 0
    skipped: int = 0


class Options(NamedTuple):
    """`layer` as in `Encoder.features`; `seconds` of a sound, at most; `tokenizer` of text."""

    layer: str = "last"
    teacher: bool = False
    frames: bool = False
    seconds: float = 60.0
    tokenizer: str | None = None


def write(source: pathlib.Path, inputs: pathlib.Path, out: pathlib.Path, options: Options) -> str:
    """Encodes every example in `inputs` with the checkpoint `source`; returns a line saying so.

    `out` gets `names` [n] and `features` float32 [n, d] or, of all tokens one after the other,
    [t, d] with `offsets` int64 [n + 1]: example i has the rows offsets[i] to offsets[i + 1].
    Inputs are read in pieces; results are held until the end, when the file is written whole.
    """
    out = _require_place(out)
    one = encoder.load(source)
    if options.teacher:
        if one.teacher is None:
            raise UserError(f"{source} holds no teacher; leave --teacher away")
        one = one.as_teacher()
    encoder.parse_layer(options.layer, one.config.trunk.depth)
    one = _with_tokenizer(one, options.tokenizer)
    _require_inputs(inputs, one)

    tally, names, parts = Tally(), [], []
    began = shown = time.monotonic()
    for chunk in _chunks(_examples(one, inputs, options, tally)):
        held = [example for _, example in chunk]
        pool = None if options.frames else "mean"
        parts += list(one.features(held, options.layer, pool, standardise=False))
        names += [name for name, _ in chunk]
        now = time.monotonic()
        if now - shown > EVERY:
            log.info("%d encoded, %.1f per second", len(names), len(names) / (now - began))
            shown = now
    if not names:
        raise UserError(f"nothing in {inputs} could be used, so there is nothing to write")
    arrays = {"names": np.array(names)}
    if options.frames:
        counts = [len(part) for part in parts]
        arrays["offsets"] = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        arrays["features"] = np.concatenate(parts)
    else:
        arrays["features"] = np.stack(parts)
    _save(out, arrays)
    return _said(one, names, arrays, options, tally, out)


def _require_place(out: pathlib.Path) -> pathlib.Path:
    """Before hours of work: can the file be written where it shall be?"""
    out = out.expanduser()
    if out.suffix != ".npz":
        raise UserError(
            f"--out {out}: the file is written in NumPy's format; name it {out.stem}.npz"
        )
    parent = out.absolute().parent
    if not parent.is_dir():
        raise UserError(f"--out {out}: there is no folder {parent}; create it first")
    if out.is_dir():
        raise UserError(f"--out {out} is a folder; name a file in it")
    if not os.access(parent, os.W_OK):
        raise UserError(f"--out {out}: the folder {parent} cannot be written to; use another")
    return out


def _with_tokenizer(one: Encoder, name: str | None) -> Encoder:
    data = one.recipe.data
    if not isinstance(data, TextData):
        if name is not None:
            raise UserError(f"--tokenizer {name}: this is a model of {one.config.modality}")
        return one
    if name is not None:
        recipe = dataclasses.replace(one.recipe, data=dataclasses.replace(data, tokenizer=name))
        one = dataclasses.replace(one, recipe=recipe)
    try:
        ids = batches.open_tokenizer(one.recipe).vocab_size
    except UserError as error:
        raise UserError(f"{error}. Here that is --tokenizer FOLDER") from None
    if ids < one.config.frontend.vocab_size:
        log.warning("the tokenizer has %d ids, the model %d: was it trained with this tokenizer?",
                    ids, one.config.frontend.vocab_size)  # fmt: skip
    return one


def _require_inputs(inputs: pathlib.Path, one: Encoder) -> None:
    kind = {"audio": "sound files", "image": "images", "text": "text files"}[one.config.modality]
    if not inputs.expanduser().exists():
        raise UserError(f"there is no {inputs}; give a folder of {kind}")
    if inputs.expanduser().is_file() and not isinstance(one.recipe.data, TextData):
        raise UserError(f"{inputs} is a file; give the folder that holds the {kind}")


def _examples(
    one: Encoder, inputs: pathlib.Path, options: Options, tally: Tally
) -> Iterator[tuple[str, np.ndarray]]:
    """(name, example) as `Encoder.features` takes it; waves standardised."""
    data, front = one.recipe.data, one.config.frontend
    match data:
        case ImageData():
            return folder_images(inputs, data.image_size, data.channels)
        case AudioData():
            least = batches.shortest_wave(front.conv_layers)
            most = int(options.seconds * RATE)
            if most < least:
                raise UserError(
                    f"--max-seconds {options.seconds:g} is too short; one frame needs "
                    f"{least / RATE:g}"
                )
            return _waves(folder_waves(inputs, most), least, tally)
        case TextData():
            return _texts(text_documents(inputs, data.tokenizer), front.max_tokens, tally)


def _waves(
    waves: Iterator[tuple[str, np.ndarray, int]], least: int, tally: Tally
) -> Iterator[tuple[str, np.ndarray]]:
    for name, wave_s, whole in waves:
        if whole < least:
            log.warning("skipped %s: %d samples at 16 kHz, one frame needs %d", name, whole, least)
            tally.skipped += 1
            continue
        tally.cut += whole > len(wave_s)
        yield name, wave_s


def _texts(
    documents: Iterator[tuple[str, np.ndarray]], most: int, tally: Tally
) -> Iterator[tuple[str, np.ndarray]]:
    for name, ids_t in documents:
        tally.cut += len(ids_t) > most
        yield name, ids_t[:most]


def _chunks(
    examples: Iterator[tuple[str, np.ndarray]],
) -> Iterator[list[tuple[str, np.ndarray]]]:
    held: list[tuple[str, np.ndarray]] = []
    size = 0
    for name, example in examples:
        held.append((name, example))
        size += example.size
        if size >= CHUNK or len(held) == MOST:
            yield held
            held, size = [], 0
    if held:
        yield held


def _save(out: pathlib.Path, arrays: dict[str, np.ndarray]) -> None:
    scratch = out.with_name(f".{out.name}.tmp")
    try:
        with scratch.open("wb") as file:
            np.savez(file, **arrays)
        os.replace(scratch, out)
    except OSError as error:
        raise UserError(f"--out {out} cannot be written: {error.strerror or error}") from None
    finally:
        scratch.unlink(missing_ok=True)


def _said(
    one: Encoder,
    names: list[str],
    arrays: dict[str, np.ndarray],
    options: Options,
    tally: Tally,
    out: pathlib.Path,
) -> str:
    noun = {"audio": "sounds", "image": "images", "text": "documents"}[one.config.modality]
    rows, width = arrays["features"].shape
    tokens = f", {rows} tokens in all" if options.frames else ""
    lines = [f"{len(names)} {noun}{tokens}, {width} features each (layer {options.layer}) -> {out}"]
    if tally.cut:
        end = f"{options.seconds:g} seconds (--max-seconds)"
        if noun == "documents":
            end = f"{one.config.frontend.max_tokens} tokens, where the model's positions end"
        lines.append(f"{tally.cut} of them were longer and are cut to their first {end}")
    if tally.skipped:
        lines.append(f"{tally.skipped} too short for a single frame were left out")
    return "\n".join(lines)
