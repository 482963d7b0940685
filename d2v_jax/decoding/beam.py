"""Prefix beam search over CTC outputs, with an n-gram model and a list of words if there are any.

Alignments of one labelling are summed (Hannun et al., arXiv:1408.2873). What is searched for is the
labelling with the highest ln P_ctc + lm_weight * ln P_words + word_bonus * words; the last is a
reward where it is positive.
"""

import dataclasses
import math
from collections.abc import Iterable, Sequence

import numpy as np

from d2v_jax.common.letters import Letters, NotInVocabulary
from d2v_jax.decoding.greedy import greedy, log_probability, log_softmax
from d2v_jax.decoding.ngram import Context, NGrams

NEVER = -math.inf


@dataclasses.dataclass(frozen=True)
class Beam:
    """`width` labellings are kept after each frame; of a frame's outputs those that are at most
    `drop` (in ln) below its best are tried. The defaults for the model of words are fairseq's.
    """

    width: int = 50
    drop: float = 12.0
    lm_weight: float = 2.0
    word_bonus: float = -1.0


@dataclasses.dataclass(frozen=True)
class Found:
    """A labelling, its text, and its score."""

    labels: list[int]
    text: str
    score: float


class Words:
    """The words that may be written, as a tree of their letters."""

    def __init__(self, words: Iterable[str], letters: Letters):
        """Words with characters that no output stands for are left out, and counted in `lost`."""
        self.root: dict = {}
        self.lost = 0
        for word in words:
            try:
                ids = letters.encode(word)
            except NotInVocabulary:
                self.lost += 1
                continue
            node = self.root
            for i in ids:
                node = node.setdefault(i, {})
            node[None] = True  # a word ends here


class _Prefix:
    """A labelling with what follows from it alone, and the probability that has come to it."""

    __slots__ = (
        "blank",
        "bonus",
        "children",
        "context",
        "ended_blank",
        "ended_label",
        "label",
        "parent",
        "symbol",
        "tree",
        "word",
    )

    def __init__(self, parent, symbol, word, tree, context, bonus):
        self.parent, self.symbol = parent, symbol
        self.word: tuple[int, ...] = word  # letters since the last word ended
        self.tree, self.context, self.bonus = tree, context, bonus
        self.children: dict[int, _Prefix | None] = {}
        # ln P of all alignments that end in a blank, or in `symbol`; before and after a frame.
        self.ended_blank = self.ended_label = NEVER
        self.blank = self.label = NEVER

    def labels(self) -> list[int]:
        found, node = [], self
        while node.parent is not None:
            found.append(node.symbol)
            node = node.parent
        return found[::-1]


class Search:
    """Finds the best labelling of utterances under CTC and, if given, a model and list of words."""

    def __init__(
        self,
        letters: Letters,
        settings: Beam,
        model: NGrams | None = None,
        words: Words | None = None,
    ):
        self._letters, self._settings = letters, settings
        self._model, self._words = model, words
        self._between = letters.between_words

    def best(self, logits_tc: np.ndarray) -> Found:
        """The best labelling of one utterance; never one that scores below the greedy one's.

        Finalists are scored again over all their alignments, so that no score suffers from what
        the beam left out.
        """
        log_p_tc = log_softmax(logits_tc)
        finalists = {tuple(one.labels()): None for one in self._finalists(log_p_tc)}
        # Greedy's, and silence, which holds no word that may not be written.
        finalists |= {tuple(greedy(log_p_tc, self._letters.blank)): None, (): None}
        scored = [(self.score(log_p_tc, labels), labels) for labels in finalists]
        score, labels = max(scored, key=lambda pair: pair[0])
        return Found(list(labels), self._letters.decode(labels), score)

    def score(self, log_p_tc: np.ndarray, labels: Sequence[int]) -> float:
        """What a labelling is worth; -inf where it holds a word that may not be written."""
        node = self._root()
        for symbol in labels:
            node = self._child(node, int(symbol))
            if node is None:
                return NEVER
        end = self._ending(node)
        if end is None:
            return NEVER
        return log_probability(log_p_tc, list(labels), self._letters.blank) + end

    def _finalists(self, log_p_tc: np.ndarray) -> list[_Prefix]:
        root = self._root()
        root.ended_blank = 0.0
        kept = [root]
        for log_p_c in log_p_tc:
            kept = self._frame(kept, log_p_c)
        return kept

    def _frame(self, kept: list[_Prefix], log_p_c: np.ndarray) -> list[_Prefix]:
        blank, settings = self._letters.blank, self._settings
        tried = np.flatnonzero(log_p_c >= log_p_c.max() - settings.drop).tolist()
        p = log_p_c.tolist()
        touched: dict[int, _Prefix] = {}
        for node in kept:
            whole = _add(node.ended_blank, node.ended_label)
            touched[id(node)] = node
            node.blank = _add(node.blank, whole + p[blank])
            if node.symbol is not None:
                node.label = _add(node.label, node.ended_label + p[node.symbol])
            for symbol in tried:
                if symbol == blank:
                    continue
                before = node.ended_blank if symbol == node.symbol else whole
                if before == NEVER:
                    continue
                child = self._child(node, symbol)
                if child is not None:
                    child.label = _add(child.label, before + p[symbol])
                    touched[id(child)] = child
        for node in touched.values():
            node.ended_blank, node.ended_label = node.blank, node.label
            node.blank = node.label = NEVER
        worth = lambda node: _add(node.ended_blank, node.ended_label) + node.bonus
        ranked = sorted(touched.values(), key=worth, reverse=True)
        for node in ranked[settings.width :]:  # may come back, with nothing
            node.ended_blank = node.ended_label = NEVER
        return ranked[: settings.width]

    def _root(self) -> _Prefix:
        context = self._model.start if self._model else ()
        tree = self._words.root if self._words else None
        return _Prefix(None, None, (), tree, context, 0.0)

    def _child(self, node: _Prefix, symbol: int) -> _Prefix | None:
        """The labelling with one more symbol; None where no word begins so."""
        if symbol not in node.children:
            node.children[symbol] = self._grown(node, symbol)
        return node.children[symbol]

    def _grown(self, node: _Prefix, symbol: int) -> _Prefix | None:
        if symbol != self._between:
            tree = node.tree
            if tree is not None:
                tree = tree.get(symbol)
                if tree is None:
                    return None
            return _Prefix(node, symbol, (*node.word, symbol), tree, node.context, node.bonus)
        if not node.word:  # separators beside each other end no word
            return _Prefix(node, symbol, (), node.tree, node.context, node.bonus)
        if node.tree is not None and None not in node.tree:
            return None
        bonus, context = self._word(node)
        root = self._words.root if self._words else None
        return _Prefix(node, symbol, (), root, context, node.bonus + bonus)

    def _word(self, node: _Prefix) -> tuple[float, Context]:
        """What the word that ends here adds, and the context behind it."""
        text = self._letters.decode(node.word)
        if not text:
            return 0.0, node.context
        if self._model is None:
            return (self._settings.word_bonus if self._words else 0.0), node.context
        log_p, context = self._model.score(node.context, text)
        return self._settings.lm_weight * log_p + self._settings.word_bonus, context

    def _ending(self, node: _Prefix) -> float | None:
        """Everything but CTC, when the utterance ends here; None where no word does."""
        total, context = node.bonus, node.context
        if node.word:
            if node.tree is not None and None not in node.tree:
                return None
            bonus, context = self._word(node)
            total += bonus
        if self._model:
            total += self._settings.lm_weight * self._model.end(context)
        return total


def _add(a: float, b: float) -> float:
    """ln(e^a + e^b)."""
    if a < b:
        a, b = b, a
    return a if b == NEVER else a + math.log1p(math.exp(b - a))
