"""Documents to one long stream of tokens."""

import array
import dataclasses
import hashlib
from collections.abc import Iterable, Iterator

import numpy as np

from d2v_jax.data.progress import logged
from d2v_jax.data.records import fingerprint_of
from d2v_jax.data.text.documents import Document
from d2v_jax.data.text.rows import OURS, Specials
from d2v_jax.data.text.tokenizer import Breaks, Tokenizer

CHUNK = 1 << 20  # characters tokenised at once


class Names:
    """Texts in one array: a twentieth of what a tuple of many short ones takes."""

    def __init__(self, bytes_c: np.ndarray, ends_n: np.ndarray):
        """`bytes_c`: UTF-8 of all of them, uint8 [c]; `ends_n`: where each ends, int64 [n]."""
        self.bytes_c, self.ends_n = bytes_c, ends_n

    def __len__(self) -> int:
        return len(self.ends_n)

    def __getitem__(self, number: int) -> str:
        first = int(self.ends_n[number - 1]) if number else 0
        return bytes(self.bytes_c[first : int(self.ends_n[number])]).decode(errors="replace")


@dataclasses.dataclass(frozen=True)
class Corpus:
    """Tokens of documents in one stream.

    `</s>` ends each line, and one more stands behind each document, for that is what an empty
    line becomes in fairseq's data. Document n is tokens[starts[n] : ends[n]], without that one.
    """

    tokens: np.ndarray  # [t], uint16 where that is enough, else int32; or what reads like it
    starts: np.ndarray  # int64 [n]
    names: Names  # [n]
    labels: np.ndarray | None  # int32 [n], -1 for none
    class_names: tuple[str, ...] | None
    breaks: Breaks
    fingerprint: str
    ids: Specials = dataclasses.field(default=OURS, kw_only=True)

    @property
    def ends(self) -> np.ndarray:
        """int64 [n]"""
        return np.append(self.starts[1:], len(self.tokens))[: len(self.starts)] - 1

    def line_ends(self) -> np.ndarray:
        """Behind each `</s>`, int64 [l]."""
        return np.concatenate(
            [
                np.flatnonzero(self.tokens[first : first + CHUNK] == self.ids.eos) + first + 1
                for first in range(0, len(self.tokens) + 1, CHUNK)
            ]
        )


class Flat:
    """Lines of documents one after the other, an empty one behind each document as its border.

    Documents without lines are left out. The other attributes grow while lines are taken.
    """

    def __init__(self, parts: Iterable[Document]):
        self._parts = parts
        self.borders = array.array("q")  # line number of each document's border
        self._labels = array.array("i")
        self._names = bytearray()
        self._name_ends = array.array("q")

    def __iter__(self) -> Iterator[str]:
        lines = 0
        begun = False
        for part in self._parts:
            yield from part.lines
            lines += len(part.lines)
            begun = begun or bool(part.lines)
            if begun and not part.more:
                self._names += part.name.encode(errors="replace")
                self._name_ends.append(len(self._names))
                self._labels.append(-1 if part.label is None else part.label)
                self.borders.append(lines)
                yield ""
                lines += 1
                begun = False

    @property
    def names(self) -> Names:
        bytes_c = np.frombuffer(bytes(self._names), np.uint8)
        return Names(bytes_c, np.array(self._name_ends, np.int64))

    @property
    def labels(self) -> np.ndarray | None:
        """int32 [n], -1 for none; None where no document has one."""
        labels = np.array(self._labels, np.int32)
        return labels if (labels >= 0).any() else None


def starts_of(border_ends_n: np.ndarray) -> np.ndarray:
    """int64 [n]: where each document starts, behind the border of the one before it."""
    return np.concatenate([[0], border_ends_n]).astype(np.int64)[: len(border_ends_n)]


def dtype_of(tokenizer: Tokenizer) -> np.dtype:
    """As ids are kept."""
    return np.dtype("<u2" if tokenizer.vocab_size <= 2**16 else "<i4")


def corpus_fingerprint(tokenizer: Tokenizer, digest: str) -> str:
    """`digest`: sha256 of all ids as little-endian int32, whatever they are kept as."""
    return fingerprint_of(("corpus", tokenizer.fingerprint, digest))


def tokenize(
    documents: Iterable[Document], tokenizer: Tokenizer, class_names: tuple[str, ...] | None = None
) -> Corpus:
    """All documents in order. Those without lines are left out. Holds each token only once."""
    dtype = dtype_of(tokenizer)
    flat = Flat(logged(documents, "tokenising documents"))
    held = bytearray()  # grows in place, unlike arrays
    digest = hashlib.sha256()
    border_ends = array.array("q")
    lines = 0
    for chunk in chunks(flat):
        ids_t = tokenizer.encode(chunk)
        digest.update(ids_t.astype("<i4").tobytes())
        line_ends = np.flatnonzero(ids_t == tokenizer.ids.eos) + 1 + len(held) // dtype.itemsize
        borders = np.array(flat.borders[len(border_ends) :], np.int64)
        border_ends.extend(line_ends[borders - lines].tolist())
        held += ids_t.astype(dtype).tobytes()
        lines += len(chunk)
    return Corpus(
        np.frombuffer(held, dtype),
        starts_of(np.array(border_ends, np.int64)),
        flat.names,
        flat.labels,
        class_names,
        tokenizer.breaks,
        corpus_fingerprint(tokenizer, digest.hexdigest()),
        ids=tokenizer.ids,
    )


def chunks(lines: Iterable[str]) -> Iterator[list[str]]:
    """Lists of lines of `CHUNK` characters or a little more."""
    chunk: list[str] = []
    size = 0
    for line in lines:
        chunk.append(line)
        size += len(line) + 1
        if size >= CHUNK:
            yield chunk
            chunk, size = [], 0
    yield chunk
