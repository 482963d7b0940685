"""Looking at texts."""

import array
import hashlib
from collections.abc import Iterable, Iterator

import numpy as np

from d2v_jax.data.inspect.findings import Findings, chosen, range_of
from d2v_jax.data.records import BadRecord
from d2v_jax.data.text.blocks import whole_lines
from d2v_jax.data.text.corpus import Corpus, tokenize
from d2v_jax.data.text.documents import Document, Texts
from d2v_jax.data.text.stored_ids import RECORD
from d2v_jax.data.text.tokenizer import Tokenizer

LONGEST = 5
HASH = 8  # bytes: of a billion lines two different ones agree with a chance of 3 %


def look_at_ids(corpus: Corpus, name: str, tokens: int) -> Findings:
    """Prepared text, called `name`, of which only the ids are known, those of its own tokenizer.

    `tokens` in a block.
    """
    count = len(corpus.starts)
    found = Findings(name, corpus.fingerprint, count, count)
    _summarise(found, corpus, tokens, "its own tokenizer")
    return found


def look(
    texts: Texts, tokenizer: Tokenizer, called: tuple[str, int, str], sample: int | None
) -> Findings:
    """All documents, tokenised; their ids are held together, as in training.

    `called`: the source's name, tokens in a block, and the tokenizer's name.
    """
    name, tokens, tokenizer_name = called
    corpus, found = _tokenised(texts, tokenizer, name, sample)
    _summarise(found, corpus, tokens, tokenizer_name)
    return found


def _tokenised(
    texts: Texts, tokenizer: Tokenizer, name: str, sample: int | None
) -> tuple[Corpus, Findings]:
    count, wanted = None, None
    if sample is not None:
        count = sum(1 for part in _filled(texts) if not part.more)
        wanted = chosen(count, sample)
    found = Findings(name, "", 0, 0)
    noted = Noted(_numbered(_filled(texts), wanted))
    corpus = tokenize(noted, tokenizer, texts.class_names)
    found.bad.update(texts.faults)
    found.passed_over = dict(getattr(texts, "passed_over", {}))
    found.fingerprint = corpus.fingerprint
    found.looked_at = len(corpus.starts)
    found.records = found.looked_at if count is None else count
    found.numbers = noted.numbers()
    found.duplicates = noted.duplicates(corpus)
    return corpus, found


def _filled(texts: Texts) -> Iterator[Document]:
    """Parts of the documents that have lines, as `tokenize` leaves the others out."""
    begun = False
    for part in texts.documents():
        begun = begun or bool(part.lines)
        if begun:
            yield part
        begun = begun and part.more


def _numbered(parts: Iterable[Document], wanted: list[int] | None) -> Iterator[Document]:
    """The parts of the documents of these numbers, in order; None: all."""
    numbers = None if wanted is None else set(wanted)
    number = 0
    for part in parts:
        if numbers is None or number in numbers:
            yield part
        number += not part.more


class Noted:
    """Passes on what documents are made of; counts it, and remembers hashes of it."""

    def __init__(self, parts: Iterable[Document]):
        self._parts = parts
        self._lines, self._documents = array.array("Q"), array.array("Q")
        self._characters = self._bytes = 0

    def __iter__(self) -> Iterator[Document]:
        whole = _hash()
        for part in self._parts:
            for line in part.lines:
                data = line.encode(errors="replace") + b"\n"
                own = _hash()
                own.update(data)
                whole.update(data)
                self._lines.append(int.from_bytes(own.digest()))
                self._characters += len(line)
                self._bytes += len(data) - 1
            if not part.more:
                self._documents.append(int.from_bytes(whole.digest()))
                whole = _hash()
            yield part

    def numbers(self) -> dict[str, int]:
        """Lines, those that occurred before, characters, and bytes of UTF-8."""
        return {
            "lines": len(self._lines),
            "characters": self._characters,
            "bytes": self._bytes,
            "repeated_lines": len(self._lines) - len(np.unique(np.array(self._lines))),
        }

    def duplicates(self, corpus: Corpus) -> dict[str, str]:
        """Names of documents that repeat an earlier one, whose name it gives."""
        hash_n = np.array(self._documents, np.uint64)
        _, first_u, which_n = np.unique(hash_n, return_index=True, return_inverse=True)
        first_n = first_u[which_n]
        again = np.flatnonzero(first_n != np.arange(len(first_n)))
        return {corpus.names[n]: corpus.names[int(first_n[n])] for n in again.tolist()}


def _hash():
    return hashlib.blake2b(digest_size=HASH)


def _unknown(corpus: Corpus, found: Findings) -> int:
    """How many ids are `<unk>`; what cannot be read goes to `found`."""
    unknown = 0
    for first in range(0, len(corpus.tokens), RECORD):
        try:
            unknown += int((corpus.tokens[first : first + RECORD] == corpus.ids.unk).sum())
        except BadRecord as bad:
            found.bad[f"tokens from {first}"] = bad.reason
    return unknown


def _blocks(corpus: Corpus, tokens: int) -> tuple[int, int | None]:
    """How many blocks training would have: contiguous, and of whole documents.

    None where ids that say so cannot be read.
    """
    room = tokens - 1
    contiguous = len(corpus.tokens) // room
    try:
        return contiguous, len(whole_lines(corpus, room)[0])
    except BadRecord:
        return contiguous, None


def _summarise(found: Findings, corpus: Corpus, tokens: int, tokenizer: str) -> None:
    tokens_n = np.asarray(corpus.ends) - np.asarray(corpus.starts)
    total = len(corpus.tokens)
    unknown = _unknown(corpus, found)
    contiguous, documents = _blocks(corpus, tokens)
    looked = (
        f"{found.looked_at:,} of {found.records:,}"
        if found.looked_at < found.records
        else f"{found.records:,}"
    )
    found.facts = {"documents": looked}
    if "lines" in found.numbers:
        lines, again = found.numbers["lines"], found.numbers["repeated_lines"]
        found.facts |= {
            "lines": f"{lines:,}, {again:,} of them occurred before",
            "characters": f"{found.numbers['characters']:,}",
            "megabytes": f"{found.numbers['bytes'] / 1e6:,.1f}",
        }
    whole = "unknown" if documents is None else f"{documents:,}"
    found.facts |= {
        "tokens": f"{total:,} of {tokenizer or 'its own tokenizer'}",
        "<unk>": f"{unknown:,} ({unknown / max(total, 1):.3%})",
        "tokens of a document": f"{range_of(tokens_n)} (least / median / most)",
        f"blocks of {tokens}": f"{contiguous:,} contiguous, {whole} of whole documents",
    }
    found.numbers |= {
        "documents": len(tokens_n),
        "tokens": total,
        "unknown": unknown,
        "blocks_contiguous": contiguous,
        "blocks_documents": documents,
    }
    longest = np.argsort(-tokens_n, kind="stable")[:LONGEST]
    found.facts["longest"] = ", ".join(f"{corpus.names[n]} ({tokens_n[n]:,})" for n in longest)
    found.histograms = {"tokens of a document": tokens_n}
    if corpus.labels is not None and corpus.class_names:
        counts = np.bincount(corpus.labels[corpus.labels >= 0], minlength=0)
        found.classes = {corpus.class_names[n]: int(c) for n, c in enumerate(counts) if c}
        if len(found.classes) == len(tokens_n):  # every document is a class: says nothing
            found.classes = {}
