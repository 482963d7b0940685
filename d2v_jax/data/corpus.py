"""Documents to one long array of tokens, and that to blocks: the records of text."""

import dataclasses
import hashlib
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from d2v_jax.common.checks import UserError, require
from d2v_jax.data.config import TextData
from d2v_jax.data.progress import logged
from d2v_jax.data.records import Record, fingerprint_of
from d2v_jax.data.text import EOS
from d2v_jax.data.tokenizer import Tokenizer

CHUNK = 1 << 20  # characters tokenised at once


@dataclasses.dataclass(frozen=True)
class Document:
    """Lines (sentences or paragraphs) that belong together; none is empty."""

    name: str
    lines: tuple[str, ...]
    label: int | None = None


@dataclasses.dataclass(frozen=True)
class Corpus:
    """Tokens of documents in one array, uint16 where that is enough, else int32.

    `</s>` ends each line, and one more stands behind each document, for that is what an empty
    line becomes in fairseq's data. Document n is tokens[starts[n] : ends[n]], without that one.
    """

    tokens: np.ndarray  # [t]
    starts: np.ndarray  # int64 [n]
    ends: np.ndarray  # int64 [n]
    names: tuple[str, ...]  # [n]
    labels: np.ndarray  # int32 [n], -1 for none
    class_names: tuple[str, ...] | None
    fingerprint: str


def tokenize(
    documents: Iterable[Document], tokenizer: Tokenizer, class_names: tuple[str, ...] | None = None
) -> Corpus:
    """All documents in order. Those without lines are left out."""
    dtype = np.uint16 if tokenizer.vocab_size <= 2**16 else np.int32
    names: list[str] = []
    labels: list[int] = []
    counts: list[int] = []  # lines per document, its border included
    parts = [np.zeros(0, dtype)]

    def lines() -> Iterator[str]:
        for document in logged(documents, "tokenising documents"):
            if document.lines:
                names.append(document.name)
                labels.append(-1 if document.label is None else document.label)
                counts.append(len(document.lines) + 1)
                yield from document.lines
                yield ""  # the border

    for chunk in _chunks(lines()):
        parts.append(tokenizer.encode(chunk).astype(dtype))
    tokens_t = np.concatenate(parts)
    line_ends = np.flatnonzero(tokens_t == EOS) + 1
    after = line_ends[np.cumsum(counts, dtype=np.int64) - 1]  # behind each border
    starts = np.concatenate([[0], after]).astype(np.int64)[: len(after)]
    digest = hashlib.sha256(tokens_t.astype("<i4").tobytes()).hexdigest()
    fingerprint = fingerprint_of(("corpus", tokenizer.fingerprint, digest))
    return Corpus(
        tokens_t, starts, after - 1, tuple(names), np.array(labels, np.int32), class_names,
        fingerprint,
    )  # fmt: skip


def _chunks(lines: Iterable[str]) -> Iterator[list[str]]:
    chunk: list[str] = []
    size = 0
    for line in lines:
        chunk.append(line)
        size += len(line)
        if size >= CHUNK:
            yield chunk
            chunk, size = [], 0
    yield chunk


class Blocks:
    """Blocks of at most `cfg.tokens` - 1 ids, leaving a place for the `<s>` in front.

    "contiguous": the corpus is one stream, cut every tokens - 1 ids; a shorter rest at its end
    is not used (REFERENCE §11.4). "documents": as many whole lines of one document as fit; a
    line that is longer than a block is cut (§7.3). The label is that of the document in which
    the block begins.
    """

    def __init__(self, corpus: Corpus, cfg: TextData, faults: Mapping[str, str] | None = None):
        """`faults`: reasons by name, of what could not be read. Raises `UserError` for a corpus
        smaller than one block.
        """
        require(cfg.tokens >= 2, f"data.tokens={cfg.tokens}: must be at least 2, `<s>` is one")
        self._corpus = corpus
        self.faults = dict(faults or {})
        self.class_names = corpus.class_names
        room = cfg.tokens - 1
        match cfg.blocks:
            case "contiguous":
                self._starts = np.arange(len(corpus.tokens) // room, dtype=np.int64) * room
                self._ends = self._starts + room
            case "documents":
                self._starts, self._ends = _whole_lines(corpus, room)
            case _:
                raise UserError(f"data.blocks={cfg.blocks!r}: must be 'contiguous' or 'documents'")
        if not len(self._starts):
            raise UserError(
                f"data.source={cfg.source!r}: its text has {len(corpus.tokens)} tokens, fewer "
                f"than one block of data.tokens={cfg.tokens}; give more text or shorter blocks"
            )
        self.fingerprint = fingerprint_of(("blocks", corpus.fingerprint, cfg.tokens, cfg.blocks))

    def __len__(self) -> int:
        return len(self._starts)

    def read(self, index: int) -> Record:
        start, end = int(self._starts[index]), int(self._ends[index])
        number = int(np.searchsorted(self._corpus.starts, start, side="right")) - 1
        label = int(self._corpus.labels[number])
        ids_t = self._corpus.tokens[start:end].astype(np.int32)
        name = f"{self._corpus.names[number]} from token {start - self._corpus.starts[number]}"
        return Record(ids_t, None if label < 0 else label, name)


def _whole_lines(corpus: Corpus, room: int) -> tuple[np.ndarray, np.ndarray]:
    """Starts and ends of blocks of at most `room` tokens, none across the border of a document."""
    line_ends = np.flatnonzero(corpus.tokens == EOS) + 1
    starts: list[int] = []
    ends: list[int] = []
    for first, last in zip(corpus.starts.tolist(), corpus.ends.tolist()):
        start = end = first  # of the block being filled
        low, high = np.searchsorted(line_ends, (first, last), side="right")
        for line_end in line_ends[low:high].tolist():
            if line_end - start > room and end > start:  # does not fit any more
                starts.append(start)
                ends.append(end)
                start = end
            while line_end - start > room:  # does not fit alone either
                starts.append(start)
                ends.append(start + room)
                start += room
            end = line_end
        if end > start:
            starts.append(start)
            ends.append(end)
    return np.array(starts, np.int64), np.array(ends, np.int64)
