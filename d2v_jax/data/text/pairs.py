"""Pairs of passages, of which the second follows the first or is of another document.

As BERT's (arXiv:1810.04805, A.2), cut anew each time: a passage of whole lines is parted where a
line ends; half the time the second part gives way to lines of another document.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from d2v_jax.data.opened import Opened
from d2v_jax.data.records import BadRecord, Example, Record, Source
from d2v_jax.data.text.blocks import document_of
from d2v_jax.data.text.rows import Specials

FOLLOWS, RANDOM = 0, 1  # "labels" of an example
TRIES = 10  # of finding another document


@dataclasses.dataclass(frozen=True)
class Pairs:
    """`cut` of a pair, and "labels": whether its second part follows the first.

    `source` holds the passages, each of whole lines of one document.
    """

    cut: Callable[[Record, np.random.Generator, int], Example]
    source: Source
    ids: Specials

    def __call__(self, record: Record, rng: np.random.Generator, tokens: int) -> Example:
        lines = self._lines(record)
        room = tokens - 3 - self.ids.doubled  # `<s>`, `</s>` between and behind
        alone = len(lines) < 2
        first = 1 if alone else int(rng.integers(1, len(lines)))
        ahead, behind, label = lines[:first], lines[first:], FOLLOWS
        if alone or rng.random() < 0.5:
            behind, label = self._elsewhere(record, rng, room - sum(map(len, ahead))), RANDOM
        pair = _fitting([np.concatenate(ahead), np.concatenate(behind)], room, rng)
        between = [self.ids.eos] * (1 + self.ids.doubled)
        ids_t = np.concatenate([pair[0], between, pair[1], [self.ids.eos]]).astype(np.int32)
        example = self.cut(dataclasses.replace(record, data=ids_t), rng, tokens)
        return {**example, "labels": np.int32(label)}

    def _lines(self, record: Record) -> list[np.ndarray]:
        ends = np.flatnonzero(record.data == self.ids.eos)
        lines = [one[one != self.ids.eos] for one in np.split(record.data, ends)]
        return [one for one in lines if len(one)]

    def _elsewhere(self, record: Record, rng: np.random.Generator, wanted: int) -> list[np.ndarray]:
        """Lines of another document, about `wanted` ids of them."""
        for _ in range(TRIES):
            try:
                other = self.source.read(int(rng.integers(len(self.source))))
            except BadRecord:
                continue
            if document_of(other) != document_of(record):
                lines = self._lines(other)
                start = int(rng.integers(len(lines)))
                enough = np.searchsorted(np.cumsum([len(one) for one in lines[start:]]), wanted)
                return lines[start : start + int(enough) + 1]
        raise BadRecord(
            f"in {TRIES} draws no passage of another document was found to stand beside it; "
            "data.blocks='pairs' needs many documents",
            record.name,
        )


def parted(opened: Opened, ids: Specials) -> Opened:
    """The same passages, cut into pairs."""
    cut = Pairs(opened.cut, opened.source, ids)
    return dataclasses.replace(opened, cut=cut, follows=(*opened.follows, "pairs"))


def _fitting(pair: list[np.ndarray], room: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Both in `room` ids: the longer one loses an id at either end until they are."""
    lengths = [len(one) for one in pair]
    lost = np.zeros((2, 2), int)  # of each, in front and behind
    while sum(lengths) > room:
        longer = int(lengths[1] >= lengths[0])
        lengths[longer] -= 1
        lost[longer, int(rng.integers(2))] += 1
    return [one[front : len(one) - back] for one, (front, back) in zip(pair, lost, strict=True)]
