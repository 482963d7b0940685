"""`d2v data train-tokenizer`."""

import pathlib
from collections.abc import Iterator
from typing import Any

from d2v_jax.common.checks import UserError
from d2v_jax.data.progress import logged
from d2v_jax.data.text.vocabularies import bpe


def train_tokenizer(data: Any, out: pathlib.Path, vocab_size: int) -> str:
    """Learns a byte-level BPE from all lines of `data`, a `TextData`, read twice; returns what to
    tell the user.

    `vocab_size` counts the specials and `<mask>`, as `frontend.vocab_size` does. Raises
    `UserError` where something is in `out`, and for too small a corpus.
    """
    out = out.expanduser()
    if vocab_size < bpe.LEAST:
        raise UserError(
            f"--vocab-size {vocab_size}: at least {bpe.LEAST}, the 256 bytes and 5 more"
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is there already and not empty; give a new folder")
    found, tokens = bpe.learn(lambda: lines(data), out, vocab_size)
    text = (
        f"{out}: {bpe.VOCAB}, {bpe.MERGES} and {bpe.DICTIONARY}; {found:,} ids with the specials, "
        f"{tokens:,} tokens in this corpus\nuse it with --config.data.tokenizer={out} "
        f"--config.frontend.vocab_size={found} --config.frontend.mask_id={found - 1}"
    )
    if found < vocab_size:
        text += f"\nthe corpus has too few repeated pairs for {vocab_size:,} ids"
    return text


def lines(data: Any) -> Iterator[str]:
    """Of every document of every source. Raises `UserError` where too many are unreadable."""
    for one in data.each():
        texts = one.documents()
        for document in logged(texts.documents(), f"reading {one.source}"):
            yield from document.lines
        texts.check_faults(data.max_bad_share)
