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
from d2v_jax.common.files import written_whole
from d2v_jax.data.requests import Named
from d2v_jax.transfer import encoder
from d2v_jax.transfer.encoder import Encoder

log = logging.getLogger("d2v")

CHUNK = 2**25  # numbers in the inputs that are held and encoded together
MOST = 2048  # inputs that are
EVERY = 5.0  # seconds between two lines of progress


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

    named = one.recipe.data.inputs_of(inputs, one.config.frontend, options.seconds)
    names, parts = [], []
    began = shown = time.monotonic()
    for chunk in _chunks(named.examples):
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
    return _said(one, names, arrays, options, named, out)


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
    data = one.recipe.data.with_tokenizer(name, one.config.frontend)
    return dataclasses.replace(one, recipe=dataclasses.replace(one.recipe, data=data))


def _require_inputs(inputs: pathlib.Path, one: Encoder) -> None:
    data = one.recipe.data
    if not inputs.expanduser().exists():
        raise UserError(f"there is no {inputs}; give a folder of {data.files}")
    if inputs.expanduser().is_file() and not data.single_file:
        raise UserError(f"{inputs} is a file; give the folder that holds the {data.files}")


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
    try:
        with written_whole(out) as part, part.open("wb") as file:
            np.savez(file, **arrays)
    except OSError as error:
        raise UserError(f"--out {out} cannot be written: {error.strerror or error}") from None


def _said(
    one: Encoder,
    names: list[str],
    arrays: dict[str, np.ndarray],
    options: Options,
    named: Named,
    out: pathlib.Path,
) -> str:
    rows, width = arrays["features"].shape
    tokens = f", {rows} tokens in all" if options.frames else ""
    nouns = one.recipe.data.nouns
    lines = [
        f"{len(names)} {nouns}{tokens}, {width} features each (layer {options.layer}) -> {out}"
    ]
    if named.cut:
        lines.append(f"{named.cut} of them were longer and are cut to their first {named.end}")
    if named.skipped:
        lines.append(f"{named.skipped} too short for a single frame were left out")
    return "\n".join(lines)
