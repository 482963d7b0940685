"""A byte-level BPE learnt from a corpus, in GPT-2's file formats."""

import collections
import pathlib
from collections.abc import Iterator

import tokenizers

from d2v_jax.common.checks import UserError
from d2v_jax.data.cache import write_whole
from d2v_jax.data.config import TextData
from d2v_jax.data.progress import logged
from d2v_jax.data.sources import each_source, open_documents
from d2v_jax.data.text import SPECIALS
from d2v_jax.data.tokenizer import DICTIONARY, MERGES, VOCAB

LEAST = 256 + SPECIALS + 1  # the bytes, the specials and `<mask>`
LINES = 10_000  # given to the trainer together


def train_tokenizer(cfg: TextData, out: pathlib.Path, vocab_size: int) -> str:
    """Learns merges from all texts of `cfg.source`; writes vocab.json, merges.txt and dict.txt.

    `vocab_size` counts the specials and `<mask>`, as `frontend.vocab_size` does. dict.txt lists
    the types by how often they occur, as fairseq's does, and so gives the ids. Returns what to
    tell the user. Raises `UserError` for a folder with other files, and for too small a corpus.
    """
    if vocab_size < LEAST:
        raise UserError(f"--vocab-size {vocab_size}: at least {LEAST}, the 256 bytes and 5 more")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is there already and not empty; give a new folder")
    bpe = tokenizers.ByteLevelBPETokenizer(add_prefix_space=False)
    bpe.train_from_iterator(
        _lines(cfg), vocab_size=vocab_size - SPECIALS - 1, min_frequency=2, show_progress=True
    )
    learnt = bpe.get_vocab()
    counts: collections.Counter[int] = collections.Counter()
    tokens = 0
    for lines in _batches(_lines(cfg)):
        for encoding in bpe.encode_batch(lines):
            counts.update(encoding.ids)
            tokens += len(encoding.ids)
    if not tokens:
        raise UserError(f"data.source={cfg.source!r} holds no text to learn from")
    out.mkdir(parents=True, exist_ok=True)
    bpe.save_model(str(out))
    # The commonest first; ties by id, so that the same corpus gives the same file.
    order = sorted(learnt.values(), key=lambda number: (-counts[number], number))
    listed = "".join(f"{number} {counts[number]}\n" for number in order)
    write_whole(out / DICTIONARY, listed.encode())
    found = len(learnt) + SPECIALS + 1
    text = (
        f"{out}: {VOCAB}, {MERGES} and {DICTIONARY}; {found:,} ids with the specials, "
        f"{tokens:,} tokens in this corpus\nuse it with --config.data.tokenizer={out} "
        f"--config.frontend.vocab_size={found} --config.frontend.mask_id={found - 1}"
    )
    if found < vocab_size:
        text += f"\nthe corpus has too few repeated pairs for {vocab_size:,} ids"
    return text


def _lines(cfg: TextData) -> Iterator[str]:
    for one in each_source(cfg):
        texts = open_documents(one)
        for document in logged(texts.documents(), f"reading {one.source}"):
            yield from document.lines
        texts.check_faults(cfg.max_bad_share)


def _batches(lines: Iterator[str]) -> Iterator[list[str]]:
    held: list[str] = []
    for line in lines:
        held.append(line)
        if len(held) >= LINES:
            yield held
            held = []
    if held:
        yield held
