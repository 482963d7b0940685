"""Texts of people, for features: documents of files, and batches of padded ids."""

import logging
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from d2v_jax.common.checks import UserError
from d2v_jax.common.names import lines_of
from d2v_jax.data.requests import Batch, Named, by_length
from d2v_jax.data.text.documents import Document, whole
from d2v_jax.data.text.textfiles import TextFiles
from d2v_jax.data.text.tokenizer import Tokenizer, open_tokenizer

log = logging.getLogger("d2v")

PADDED = 16  # ids that the shortest batch is padded to
SMALL, LARGE = 8 * 128, 64 * 128  # ids in a batch, on a CPU and elsewhere


def cut(
    texts: Sequence[Any], front: Any, tokenizer: Callable[[], Tokenizer], large: bool
) -> Iterator[Batch]:
    """Strings or ids [t] of any lengths in padded batches.

    `front` is the model's side: `vocab_size`, `max_tokens` and `pad_id`. `tokenizer` is called
    once there is a string. An example's batch has a shape that follows from its own length alone.
    Raises `UserError` for what the model cannot read.
    """
    known, ready = None, []
    for i, words in enumerate(texts):
        if isinstance(words, str):
            known = known or tokenizer()
            lines = [line.strip() for line in lines_of(words) if line.strip()]
            if not lines:
                raise UserError(f"text {i} is empty; leave it out")
            words = np.concatenate([[known.ids.bos], known.encode(lines)])
        ready.append(_checked(i, np.asarray(words), front))
    for length, order in by_length([len(t) for t in ready], PADDED).items():
        length = min(length, front.max_tokens)
        size = max(1, (LARGE if large else SMALL) // length)
        for start in range(0, len(order), size):
            part = order[start : start + size]
            padded_bt = np.full((size, length), front.pad_id, np.int32)
            for row, index in enumerate(part):
                padded_bt[row, : len(ready[index])] = ready[index]
            yield Batch(part, {"inputs": padded_bt})


def _checked(i: int, ids_t: np.ndarray, front: Any) -> np.ndarray:
    """The ids without padding behind them."""
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
    if len(real) > front.max_tokens:
        raise UserError(
            f"text {i} has {len(real)} tokens, this encoder's positions end at "
            f"{front.max_tokens}; split it or cut it"
        )
    return ids_t[: len(real)]


def of_folder(path: pathlib.Path, tokenizer: str, most: int) -> Named:
    """The documents of a file or folder, cut to `most` ids."""
    named = Named(iter(()), f"{most} tokens, where the model's positions end")
    named.examples = _cut_off(text_documents(path, tokenizer), most, named)
    return named


def _cut_off(
    documents: Iterator[tuple[str, np.ndarray]], most: int, named: Named
) -> Iterator[tuple[str, np.ndarray]]:
    for name, ids_t in documents:
        named.cut += len(ids_t) > most
        yield name, ids_t[:most]


def text_documents(
    source: str | os.PathLike | Iterable[str], tokenizer: str
) -> Iterator[tuple[str, np.ndarray]]:
    """Documents as (name, ids int32 [t]): `<s>`, then each line with its `</s>`.

    `source` is the path of a .txt file (an empty line ends a document, which is named FILE:FIRST
    LINE), of JSON lines or Parquet (a document is what a record has in "text"), of a folder of
    such files, or the documents themselves, each a string (named by its number).
    `tokenizer` as in `data.tokenizer`. Raises `UserError` at once for a missing path or
    tokenizer; files that cannot be read are left out with a warning each.
    """
    ids = open_tokenizer(tokenizer)
    if isinstance(source, str | os.PathLike):
        return _encoded(whole(TextFiles(source).documents()), ids)
    return _encoded(_numbered(source), ids)


def _numbered(texts: Iterable[str]) -> Iterator[Document]:
    for number, text in enumerate(texts):
        lines = tuple(line.strip() for line in lines_of(text) if line.strip())
        if lines:
            yield Document(str(number), lines)
        else:
            log.warning("skipped text %d: it is empty", number)


def _encoded(
    documents: Iterable[Document], tokenizer: Tokenizer
) -> Iterator[tuple[str, np.ndarray]]:
    for document in documents:
        ids_t = tokenizer.encode(document.lines)
        yield document.name, np.concatenate([[tokenizer.ids.bos], ids_t]).astype(np.int32)
