"""From the outputs of a CTC head to words with times, and how many of them are wrong."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jiwer
import numpy as np

from d2v_jax.common import letters
from d2v_jax.common.checks import UserError
from d2v_jax.common.letters import ENGLISH, Letters
from d2v_jax.common.names import lines_of
from d2v_jax.decoding import beam, ngram
from d2v_jax.decoding.greedy import greedy, log_softmax


class Word(NamedTuple):
    """Seconds from the beginning of the recording."""

    text: str
    start: float
    end: float


@dataclasses.dataclass(frozen=True)
class Reader:
    """Text of a head's outputs: the likeliest of each frame, or what `search` finds."""

    known: Letters
    search: beam.Search | None = None

    def labelling(self, logits_tc: np.ndarray) -> list[int]:
        if self.search is None:
            return greedy(logits_tc, self.known.blank)
        return self.search.best(logits_tc).labels

    def text(self, logits_tc: np.ndarray) -> str:
        return self.known.decode(self.labelling(logits_tc))

    def words(self, logits_tc: np.ndarray, seconds_per_frame: float) -> list[Word]:
        """With the times of the likeliest alignment."""
        labels = self.labelling(logits_tc)
        frames = aligned(log_softmax(logits_tc), labels, self.known.blank)
        words: list[Word] = []
        held: list[int] = []
        for place, label in enumerate([*labels, None]):
            if label is None or label == self.known.between_words:
                text = self.known.decode([labels[i] for i in held])
                if text:
                    first, last = frames[held[0]][0], frames[held[-1]][1]
                    words.append(
                        Word(text, first * seconds_per_frame, (last + 1) * seconds_per_frame)
                    )
                held = []
            else:
                held.append(place)
        return words


def aligned(log_p_tc: np.ndarray, labels: Sequence[int], blank: int) -> list[tuple[int, int]]:
    """First and last frame of each label in the likeliest alignment (Viterbi)."""
    if not labels:
        return []
    states = np.full(2 * len(labels) + 1, blank)
    states[1::2] = labels
    skip = np.zeros(len(states), bool)
    skip[3::2] = states[3::2] != states[1:-2:2]
    best = np.full(len(states), -np.inf)
    best[:2] = log_p_tc[0, states[:2]]
    came = np.zeros((len(log_p_tc), len(states)), np.int8)
    for t, log_p_c in enumerate(log_p_tc[1:], 1):
        one = np.concatenate([[-np.inf], best[:-1]])
        two = np.where(skip, np.concatenate([[-np.inf, -np.inf], best[:-2]]), -np.inf)
        options = np.stack([best, one, two])
        came[t] = options.argmax(0)
        best = options.max(0) + log_p_c[states]
    state = len(states) - 1 if best[-1] >= best[-2] else len(states) - 2
    spans: dict[int, tuple[int, int]] = {}
    for t in range(len(log_p_tc) - 1, -1, -1):
        if state % 2:
            label = state // 2
            spans[label] = (t, spans.get(label, (t, t))[1])
        state -= int(came[t, state])
    return [spans[label] for label in range(len(labels))]


@dataclasses.dataclass(frozen=True)
class SearchOptions:
    """How letters become words: without `beam`, `lm` and `words` the likeliest of each frame."""

    beam: int | None = None
    lm: pathlib.Path | None = None
    lm_weight: float = 2.0
    word_bonus: float = -1.0
    words: pathlib.Path | None = None
    letters: pathlib.Path | None = None

    def reader(self, head: Mapping[str, Any]) -> Reader:
        """Of the outputs of a "ctc" head. Raises `UserError` for files that cannot be used."""
        known = letters.read(self.letters) if self.letters else letters_of(head)
        outputs = head["params"]["out"]["kernel"].shape[1]
        if len(known.symbols) != outputs:
            raise UserError(
                f"{self.letters} has {len(known.symbols)} symbols, the head {outputs} outputs; "
                "give the dictionary it was trained with"
            )
        if self.beam is not None and self.beam < 1:
            raise UserError(f"--beam {self.beam}: must be positive")
        if not (self.beam or self.lm or self.words):
            return Reader(known)
        settings = beam.Beam(lm_weight=self.lm_weight, word_bonus=self.word_bonus)
        if self.beam:
            settings = dataclasses.replace(settings, width=self.beam)
        model = ngram.read(self.lm) if self.lm else None
        words = beam.Words(_lines(self.words), known) if self.words else None
        return Reader(known, beam.Search(known, settings, model, words))


def _lines(path: pathlib.Path) -> list[str]:
    """The first column of a list of words, or of fairseq's lexicon."""
    try:
        lines = lines_of(path.expanduser().read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as text ({error})") from None
    return [line.split()[0] for line in lines if line.strip()]


def letters_of(head: Mapping[str, Any]) -> Letters:
    """What the outputs of a "ctc" head stand for. Raises `UserError` where nobody says."""
    outputs = head["params"]["out"]["kernel"].shape[1]
    names = head.get("labels")
    if not names and outputs == len(ENGLISH):
        names = ENGLISH
    if not names or len(names) != outputs:
        raise UserError(
            f"the head has {outputs} outputs and the checkpoint does not say what they stand for; "
            "give its dictionary with --letters dict.ltr.txt or vocab.json"
        )
    return Letters(tuple(names), int(head.get("blank", 0)))


# jiwer's own steps: words apart by single blanks, in one case, without punctuation.
STANDARD = jiwer.Compose(
    [
        jiwer.ToLowerCase(),
        jiwer.RemovePunctuation(),
        jiwer.RemoveMultipleSpaces(),
        jiwer.Strip(),
    ]
)


class Errors(NamedTuple):
    """Of one utterance, in words and in letters."""

    words: int
    word_errors: int
    letters: int
    letter_errors: int


def errors(said: str, heard: str) -> Errors:
    """`said` is the truth. Both lose case and punctuation first."""
    said, heard = STANDARD(said), STANDARD(heard)
    if not said:
        return Errors(0, len(heard.split()), 0, len(heard))
    by_word, by_letter = jiwer.process_words(said, heard), jiwer.process_characters(said, heard)
    return Errors(*_counted(by_word), *_counted(by_letter))


def _counted(found: Any) -> tuple[int, int]:
    truths = found.hits + found.substitutions + found.deletions
    return truths, found.substitutions + found.deletions + found.insertions


def rate(errors_n: np.ndarray, truths_n: np.ndarray) -> float:
    """Errors of all utterances by what was said in all."""
    return float(errors_n.sum() / max(truths_n.sum(), 1))


MEASURES: dict[str, Callable[[Sequence[Errors]], tuple[np.ndarray, np.ndarray]]] = {
    "wer": lambda found: (
        np.array([one.word_errors for one in found]),
        np.array([one.words for one in found]),
    ),
    "cer": lambda found: (
        np.array([one.letter_errors for one in found]),
        np.array([one.letters for one in found]),
    ),
}
