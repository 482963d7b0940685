"""A corpus cut into blocks: the records of text."""

import array
import bisect
from collections.abc import Iterator, Mapping

import numpy as np

from d2v_jax.common.checks import UserError, require
from d2v_jax.data.records import BadRecord, Record, fingerprint_of
from d2v_jax.data.text.corpus import Corpus
from d2v_jax.data.text.tokenizer import Breaks

SLAB = 1 << 18  # lines looked at together
FROM = " from token "  # behind the document's name, in that of a block


class Blocks:
    """Blocks of at most `tokens` - 1 ids, leaving a place for the `<s>` in front.

    "contiguous": the corpus is one stream, cut every tokens - 1 ids; a shorter rest at its end
    is not used (REFERENCE §11.4). "documents": as many whole lines of one document as fit; a
    line that is longer than a block is cut where a word begins, if one does (§7.3); "pairs" are
    parted from these. The label is that of the document in which the block begins.
    """

    def __init__(
        self,
        corpus: Corpus,
        source: str,
        tokens: int,
        blocks: str,
        faults: Mapping[str, str] | None = None,
    ):
        """`blocks` is one of the three. `faults`: reasons by name, of what could not be read.

        Raises `UserError` for a corpus smaller than one block, which `source` names.
        """
        require(tokens >= 2, f"data.tokens={tokens}: must be at least 2, `<s>` is one")
        self._corpus = corpus
        self.faults = dict(faults or {})
        self.class_names = corpus.class_names
        self._room = tokens - 1
        self._spans: tuple[np.ndarray, np.ndarray] | None = None  # of "documents"
        match blocks:
            case "contiguous":
                self._count = len(corpus.tokens) // self._room
                version = blocks
            case "documents" | "pairs":
                self._spans = whole_lines(corpus, self._room)
                self._count = len(self._spans[0])
                version = "documents, words whole"
            case _:
                raise UserError(
                    f"data.blocks={blocks!r}: must be 'contiguous', 'documents' or 'pairs'"
                )
        if not self._count:
            raise UserError(
                f"data.source={source!r}: its text has {len(corpus.tokens)} tokens, fewer "
                f"than one block of data.tokens={tokens}; give more text or shorter blocks"
            )
        self.fingerprint = fingerprint_of(("blocks", corpus.fingerprint, tokens, version))

    def __len__(self) -> int:
        return self._count

    def _span(self, index: int) -> tuple[int, int]:
        if self._spans is None:
            return index * self._room, (index + 1) * self._room
        return int(self._spans[0][index]), int(self._spans[1][index])

    def ids(self, index: int) -> np.ndarray:
        """Ids [t] of block `index`, uint16 or int32. Raises `BadRecord`."""
        start, end = self._span(index)
        return self._corpus.tokens[start:end]

    def read(self, index: int) -> Record:
        start, _ = self._span(index)
        number = int(np.searchsorted(self._corpus.starts, start, side="right")) - 1
        name = f"{self._corpus.names[number]}{FROM}{start - self._corpus.starts[number]}"
        label = -1 if self._corpus.labels is None else int(self._corpus.labels[number])
        try:
            ids_t = self.ids(index).astype(np.int32)
        except BadRecord as bad:
            raise BadRecord(bad.reason, name) from bad
        return Record(ids_t, None if label < 0 else label, name)


def document_of(record: Record) -> str:
    """The name of the document in which a block begins."""
    return record.name.rpartition(FROM)[0]


def whole_lines(corpus: Corpus, room: int) -> tuple[np.ndarray, np.ndarray]:
    """Starts and ends int64 [n] of blocks of at most `room` ids.

    None reaches across the border of a document. `corpus` is looked at in slabs, so that what
    is held beside the result stays small.
    """
    line_ends, border_ends = corpus.line_ends(), corpus.ends + 1
    starts, ends = array.array("q"), array.array("q")
    line = 0
    while line < len(line_ends):
        slab = np.array(line_ends[line : line + max(SLAB, room + 2)], np.int64)
        first = int(line_ends[line - 1]) if line else 0
        last = line + len(slab) == len(line_ends)
        line += _fill(corpus, slab, first, border_ends, room, last, starts, ends)
    return np.array(starts, np.int64), np.array(ends, np.int64)


def _fill(
    corpus: Corpus,
    ends_l: np.ndarray,
    first: int,
    border_ends: np.ndarray,
    room: int,
    last: bool,
    starts: array.array,
    ends: array.array,
) -> int:
    """Appends the blocks of some lines; returns the number of lines that are done.

    The first line starts at `first`; a block that might go on behind the lines is left to the
    next call unless they are the `last`.
    """
    count = len(ends_l)
    starts_l = np.append(first, ends_l[:-1])
    low, high = np.searchsorted(border_ends, (first, ends_l[-1]), side="right")
    border_k = np.searchsorted(ends_l, border_ends[low:high])  # lines that are borders
    border_l = np.append(border_k, count)[np.searchsorted(border_k, np.arange(count))]
    # The line behind the block that starts with line l: l itself where that is a border, or does
    # not fit.
    behind_l = np.minimum(np.searchsorted(ends_l, starts_l + room, side="right"), border_l)
    starts_i, ends_i, behind_i, border_i = (
        array_l.tolist() for array_l in (starts_l, ends_l, behind_l, border_l)
    )
    line = 0
    while line < count:
        behind = behind_i[line]
        if behind > line:
            if behind == count and not last:
                break
            starts.append(starts_i[line])
            ends.append(ends_i[behind - 1])
        elif border_i[line] == line:
            behind = line + 1
        else:
            start, end = starts_i[line], ends_i[line]
            cuts = list(_cuts(corpus.tokens[start:end], room, corpus.breaks))
            rest = start + cuts[-1]  # of the line; more lines may follow it
            behind = min(bisect.bisect_right(ends_i, rest + room), border_i[line])
            if behind == count and not last and line:
                break
            starts.extend([start, *(start + cut for cut in cuts)])
            ends.extend([*(start + cut for cut in cuts), ends_i[behind - 1]])
        line = behind
    return line


def _cuts(ids_t: np.ndarray, room: int, breaks: Breaks) -> Iterator[int]:
    """Where a line longer than `room` is cut: as late as possible before a word."""
    opens, closes = breaks
    words = (np.flatnonzero(opens[ids_t[1:]] | closes[ids_t[:-1]]) + 1).tolist()
    cut = 0
    while len(ids_t) - cut > room:
        place = bisect.bisect_right(words, cut + room) - 1
        cut = words[place] if place >= 0 and words[place] > cut else cut + room
        yield cut
