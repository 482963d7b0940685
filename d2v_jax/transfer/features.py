"""Features of images, sounds or texts, as one file."""

import dataclasses
import logging
import os
import pathlib
import shutil
import time
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from d2v_jax.common.checks import UserError
from d2v_jax.data.requests import Named
from d2v_jax.transfer import encoder, feature_files
from d2v_jax.transfer.answers.results import weights_hash
from d2v_jax.transfer.encoder import Encoder

log = logging.getLogger("d2v")

CHUNK = 2**24  # numbers in the inputs that are held and encoded together
MOST = 1024  # inputs that are
EVERY = 5.0  # seconds between two lines of progress


class Options(NamedTuple):
    """`layer` as in `Encoder.features`; `seconds` of a sound, at most; `tokenizer` of text; `split`
    of a source that has several.
    """

    layer: str = "last"
    teacher: bool = False
    frames: bool = False
    seconds: float = 60.0
    tokenizer: str | None = None
    split: str = "train"


def write(source: pathlib.Path, inputs: str, out: pathlib.Path, options: Options) -> str:
    """Encodes every example in `inputs` with the checkpoint `source`; returns a line saying so.

    `inputs`: a folder or file, or whatever `data.source` may be. `out` ends in .npz, .safetensors
    or .parquet and gets `names` [n] and `features` float32 [n, d] or, of all tokens one after the
    other, [t, d] with `offsets` int64 [n + 1]: example i has the rows offsets[i] to offsets[i + 1].
    Results are kept beside `out` as they come: called again, it goes on where it was interrupted.
    """
    out = _require_place(out)
    one = encoder.load(source)
    if options.teacher:
        if one.teacher is None:
            raise UserError(f"{source} holds no teacher; leave --teacher away")
        one = one.as_teacher()
    encoder.parse_layer(options.layer, one.config.trunk.depth)
    one = _with_tokenizer(one, options.tokenizer)
    named = _named(inputs, one, options)
    about = {"inputs": inputs, "options": options._asdict(), "weights": weights_hash(one.params)}
    parts = feature_files.Parts(out, about)
    if parts.done:
        log.info("%d were encoded before and are kept", len(parts.done))
    began = shown = time.monotonic()
    fresh = ((name, example) for name, example in named.examples if name not in parts.done)
    count = 0
    for chunk in _chunks(fresh):
        pool = None if options.frames else "mean"
        found = one.features([example for _, example in chunk], options.layer, pool, False)
        names = [name for name, _ in chunk]
        counts = np.array([len(rows) for rows in found], np.int64) if options.frames else None
        features = np.concatenate(list(found)) if options.frames else np.stack(list(found))
        _keep(parts, feature_files.Part(names, features, counts), out)
        count += len(names)
        now = time.monotonic()
        if now - shown > EVERY:
            log.info("%d encoded, %.1f per second", count, count / (now - began))
            shown = now
    if not parts.done and not count:
        shutil.rmtree(parts.folder, ignore_errors=True)
        raise UserError(f"nothing in {inputs} could be used, so there is nothing to write")
    try:
        examples, shape = parts.finish()
    except OSError as error:
        raise UserError(f"--out {out} cannot be written: {error.strerror or error}") from None
    return _said(one, examples, shape, options, named, out)


def _keep(parts: feature_files.Parts, part: feature_files.Part, out: pathlib.Path) -> None:
    try:
        parts.add(part)
    except OSError as error:
        raise UserError(f"--out {out} cannot be written: {error.strerror or error}") from None


def _named(inputs: str, one: Encoder, options: Options) -> Named:
    """The examples: of a folder or file, or of anything else that `data.source` may be."""
    data = dataclasses.replace(one.recipe.data, source=inputs, split=options.split)
    if data.is_source(inputs):
        return Named(data.every_input(one.config.frontend))
    path = pathlib.Path(inputs)
    _require_inputs(path, one)
    return one.recipe.data.inputs_of(path, one.config.frontend, options.seconds)


def _require_place(out: pathlib.Path) -> pathlib.Path:
    """Before hours of work: can the file be written where it shall be?"""
    out = out.expanduser()
    if out.suffix not in feature_files.WRITERS:
        raise UserError(
            f"--out {out}: name the file {out.stem}.npz, {out.stem}.safetensors or "
            f"{out.stem}.parquet, as its format shall be"
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


def _said(
    one: Encoder,
    examples: int,
    shape: tuple[int, int],
    options: Options,
    named: Named,
    out: pathlib.Path,
) -> str:
    rows, width = shape
    tokens = f", {rows} tokens in all" if options.frames else ""
    nouns = one.recipe.data.nouns
    lines = [f"{examples} {nouns}{tokens}, {width} features each (layer {options.layer}) -> {out}"]
    if named.cut:
        lines.append(f"{named.cut} of them were longer and are cut to their first {named.end}")
    if named.skipped:
        lines.append(f"{named.skipped} too short for a single frame were left out")
    return "\n".join(lines)
