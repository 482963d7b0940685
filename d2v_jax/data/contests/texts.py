"""How text is tokenised block by block while training, for `d2v data bench`."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from d2v_jax.common.checks import UserError
from d2v_jax.data.contests.contest import PLAIN, Contest
from d2v_jax.data.records import BadRecord, Record, Source
from d2v_jax.data.sources import BUILTIN_PREFIX, PYTHON_DOCS
from d2v_jax.data.stores.prepared import looks_prepared
from d2v_jax.data.text.opening import open_documents
from d2v_jax.data.text.rows import padded
from d2v_jax.data.text.stored_ids import ids_index
from d2v_jax.data.text.tokenizer import Tokenizer

BLOCKS = 32  # timed together
PIECES = 1024  # of text, held


def contest(
    source: Source, lines: Iterator[str], name: str, tokenizer: Tokenizer, tokens: int
) -> Contest | None:
    """Blocks of `source` in random order beside tokenising `lines`, which are `name`.

    None where there are no lines.
    """
    pieces = list(itertools.islice(_pieces(lines, tokenizer, tokens - 1), PIECES))
    if not pieces:
        return None
    ids_n = _rng(0).integers(len(source), size=PIECES).tolist()
    rng = _rng(0)

    def read(index: int) -> int:
        try:
            record = source.read(index)
        except BadRecord:
            return 0
        padded(record, rng, tokens)
        return len(record.data)

    def tokenised(piece: list[str]) -> int:
        ids_t = tokenizer.encode(piece)[: tokens - 1]
        padded(Record(ids_t, None, ""), rng, tokens)
        return len(ids_t)

    def some(of: list[Any], number: int) -> list[Any]:
        return [of[(number * BLOCKS + i) % len(of)] for i in range(BLOCKS)]

    def calls(number: int) -> dict[str, Callable[[], int]]:
        return {
            PLAIN: lambda: sum(map(tokenised, some(pieces, number))),
            "blocks in random order": lambda: sum(map(read, some(ids_n, number))),
        }

    return Contest(f"tokenising {name}, block by block", calls, "tokens", count=int)


def same_text(source: str, split: str, column: str) -> tuple[Iterator[str], str]:
    """Lines of the source, of what it was prepared from, or else of the built-in text."""
    if looks_prepared(source):
        source = ids_index(source)["source"]
    try:
        texts, name = open_documents(source, split, column), "the same text"
    except (UserError, OSError):
        texts = open_documents(PYTHON_DOCS, "train", column)
        name = f"other text ({PYTHON_DOCS.removeprefix(BUILTIN_PREFIX)})"
    return (line for part in texts.documents() for line in part.lines), name


def _pieces(lines: Iterator[str], tokenizer: Tokenizer, tokens: int) -> Iterator[list[str]]:
    """Lines that make a block of `tokens` or a little more."""
    held: list[str] = []
    count = 0
    for line in lines:
        held.append(line)
        count += len(tokenizer.encode([line]))
        if count >= tokens:
            yield held
            held, count = [], 0
    if held:
        yield held


def _rng(number: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=number))
