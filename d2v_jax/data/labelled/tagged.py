"""Sentences with a tag for each word: what a single token's features know.

`FILE.conllu` has the columns of CoNLL-U, of which the word is the second and the tag the fourth
(UPOS); in `FILE.conll` the word is the first column and the tag the last, as in CoNLL-2003. Each
word stands on a line, and sentences are parted by empty lines.
"""

import dataclasses
import pathlib
import re
from collections.abc import Iterator

import numpy as np

from d2v_jax.common.checks import UserError
from d2v_jax.data.labelled.chosen import share
from d2v_jax.data.labelled.exams import TRAIN_SHARE, Encode, Exam, Pair, Task
from d2v_jax.data.stores.folder import numbered
from d2v_jax.data.text.tokenizer import Tokenizer

# The columns of the word and its tag, how many there must be, and lines that are no word: comments,
# words that are written as one ("1-2"), words that are not written ("1.1").
COLUMNS = {
    ".conllu": (1, 3, 4, re.compile(r"#|\d+[-.]\d+\t")),
    ".conll": (0, -1, 2, re.compile("-DOCSTART-")),
}
CHUNK = 64  # sentences whose tokens are held at once


@dataclasses.dataclass(frozen=True)
class Sentence:
    """ids int32 [t], `<s>` in front; of each word the place of its first token, and its tag."""

    ids_t: np.ndarray
    places: list[int]
    tags: list[str]


def is_tagged(source: str) -> bool:
    """Whether that is the name of such a file."""
    return pathlib.Path(source).suffix.lower() in COLUMNS


def exam(source: str, tokenizer: Tokenizer, tokens: int, count: int, seed: int) -> Exam:
    """Which tag has a word, by the features of its first token? The baseline is the token itself.

    70 % of the sentences are learnt from, by the hash of their words, and at most `count` words of
    each part asked about. Raises `UserError`, with the line, for what is no such file.
    """
    path = pathlib.Path(source).expanduser()
    parts: tuple[list[Sentence], ...] = ([], [])
    for words in _sentences(path):
        text = " ".join(word for word, _ in words)
        parts[share(text) >= TRAIN_SHARE].append(_encoded(words, tokenizer, tokens))
    sides = [_some(part, count, seed) for part in parts]
    if not all(sides):
        raise UserError(f"{source!r} has too few sentences to learn from some and test on others")
    tags = [[tag for sentence in side for tag in sentence.tags] for side in sides]
    _, number_n = numbered([*tags[0], *tags[1]])
    labels = tuple(np.split(number_n, [len(tags[0])]))
    firsts = [np.concatenate([one.ids_t[one.places] for one in side]) for side in sides]

    def features(encode: Encode | None) -> list[Pair]:
        if encode is None:
            known = np.unique(firsts[0])
            return [tuple((ids_n[:, None] == known).astype(np.float32) for ids_n in firsts)]
        return [tuple(_frames(encode, side) for side in sides)]

    return Exam("token", (Task("tag", "words", labels),), features)


def _sentences(path: pathlib.Path) -> Iterator[list[tuple[str, str]]]:
    if not path.is_file():
        raise UserError(f"there is no file {str(path)!r}")
    word_column, tag_column, least, no_word = COLUMNS[path.suffix.lower()]
    words: list[tuple[str, str]] = []
    try:
        lines = path.read_text(encoding="utf-8").split("\n")  # other breaks may be words
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {error}; it must be UTF-8 text") from error
    for number, line in enumerate([*lines, ""], 1):
        if not line.strip():
            if words:
                yield words
            words = []
            continue
        if no_word.match(line):
            continue
        columns = line.split("\t") if "\t" in line else line.split()
        if len(columns) < least:
            raise UserError(
                f"{path} line {number}: {line[:80]!r} has {len(columns)} columns, and needs "
                f"{least} for a word and its tag, as {path.suffix} files have. Correct it"
            )
        words.append((columns[word_column], columns[tag_column]))


def _encoded(words: list[tuple[str, str]], tokenizer: Tokenizer, tokens: int) -> Sentence:
    """Words that do not fit are left out."""
    pieces, places, tags, at = [np.array([tokenizer.ids.bos], np.int32)], [], [], 1
    for number, (word, tag) in enumerate(words):
        alone_t = tokenizer.encode([word])[:-1]
        ids_t = tokenizer.encode([f" {word}"])[:-1] if number else alone_t
        if at + len(ids_t) >= tokens:
            break
        # A space that is a token of its own is not the word.
        places.append(at + np.array_equal(ids_t[1:], alone_t))
        tags.append(tag)
        pieces.append(ids_t)
        at += len(ids_t)
    return Sentence(np.concatenate([*pieces, [tokenizer.ids.eos]]).astype(np.int32), places, tags)


def _some(sentences: list[Sentence], count: int, seed: int) -> list[Sentence]:
    """So many of them that at most `count` words are asked about."""
    draw = np.random.Generator(np.random.Philox(key=[seed, 0])).permutation
    chosen, left = [], count
    for index in draw(len(sentences)).tolist():
        one = sentences[index]
        if left and one.places:
            asked = min(left, len(one.places))
            chosen.append(
                dataclasses.replace(one, places=one.places[:asked], tags=one.tags[:asked])
            )
            left -= asked
    return chosen


def _frames(encode: Encode, sentences: list[Sentence]) -> np.ndarray:
    found = []
    for start in range(0, len(sentences), CHUNK):
        some = sentences[start : start + CHUNK]
        for one, frames_td in zip(some, encode([one.ids_t for one in some], pool=None)):
            found.append(frames_td[one.places])
    return np.concatenate(found)
