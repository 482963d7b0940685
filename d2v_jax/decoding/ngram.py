"""Word n-gram models in the ARPA format, with back-off."""

import gzip
import math
import pathlib
import re
from collections.abc import Iterator

from d2v_jax.common.checks import UserError

BEGIN, END, UNKNOWN = "<s>", "</s>", "<unk>"
NEVER_SEEN = -10.0  # log10 of a word that neither the model nor its <unk> knows
LN10 = math.log(10)

Context = tuple[str, ...]


class NGrams:
    """ln P(word | the words before it); words are looked up as written, then in other cases."""

    def __init__(self, order: int, found: dict[Context, tuple[float, float]]):
        """`found`: (ln P, ln back-off weight) by the words of each n-gram."""
        self.order = order
        self._found = found
        spoken = [words[0] for words in found if len(words) == 1]
        self._spellings: dict[str, str] = {}
        for word in spoken:
            self._spellings.setdefault(word.lower(), word)

    @property
    def start(self) -> Context:
        return (BEGIN,) if (BEGIN,) in self._found and self.order > 1 else ()

    def score(self, context: Context, word: str) -> tuple[float, Context]:
        """-> (ln P, the context of the next word)."""
        word = self._known(word)
        total, history = 0.0, context[max(len(context) - self.order + 1, 0) :]
        while True:
            entry = self._found.get((*history, word))
            if entry is not None or not history:
                break
            total += self._found.get(history, (0.0, 0.0))[1]
            history = history[1:]
        total += entry[0] if entry else NEVER_SEEN * LN10
        following = (*context, word)
        return total, following[max(len(following) - self.order + 1, 0) :]

    def end(self, context: Context) -> float:
        """ln P that the sentence ends; 0 where the model does not know sentences."""
        return self.score(context, END)[0] if (END,) in self._found else 0.0

    def _known(self, word: str) -> str:
        if (word,) in self._found:
            return word
        return self._spellings.get(word.lower(), UNKNOWN)


def read(path: str | pathlib.Path) -> NGrams:
    """Reads an ARPA file, gzipped or not. Raises `UserError` naming file and line."""
    path = pathlib.Path(path).expanduser()
    open_text = gzip.open if path.suffix == ".gz" else open
    try:
        with open_text(path, "rt", encoding="utf-8") as file:
            return _parse(path, file)
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as an ARPA file ({error})") from None


def _parse(path: pathlib.Path, lines: Iterator[str]) -> NGrams:
    promised: dict[int, int] = {}
    found: dict[Context, tuple[float, float]] = {}
    section: int | None = None
    ended = False
    for number, raw in enumerate(lines, 1):
        line = raw.strip()
        if not line:
            continue
        if line == "\\end\\":
            ended = True
            break
        if line == "\\data\\":
            section = 0
        elif match := re.fullmatch(r"\\(\d+)-grams:", line):
            section = int(match[1])
            if section not in promised:
                raise UserError(f"{path} line {number}: {line} was not announced under \\data\\")
        elif section == 0:
            match = re.fullmatch(r"ngram\s+(\d+)\s*=\s*(\d+)", line)
            if not match:
                raise UserError(f"{path} line {number}: {line[:60]!r} is not 'ngram N=COUNT'")
            promised[int(match[1])] = int(match[2])
        elif section:
            words, entry = _entry(path, number, line, section)
            found[words] = entry
    if not ended or not promised:
        raise UserError(
            f"{path}: ends without \\end\\ or has no \\data\\; it is no ARPA file, or was cut off. "
            "Fetch it again"
        )
    for order, count in promised.items():
        there = sum(len(words) == order for words in found)
        if there != count:
            raise UserError(f"{path}: {count} {order}-grams are announced, {there} are there")
    return NGrams(max(promised), found)


def _entry(
    path: pathlib.Path, number: int, line: str, order: int
) -> tuple[Context, tuple[float, float]]:
    parts = line.split()
    if not order + 1 <= len(parts) <= order + 2:
        raise UserError(
            f"{path} line {number}: {line[:60]!r} is not LOG10 and {order} words, with or without "
            "a back-off weight"
        )
    try:
        log10 = float(parts[0])
        backoff = float(parts[order + 1]) if len(parts) == order + 2 else 0.0
    except ValueError:
        raise UserError(f"{path} line {number}: {line[:60]!r} has a word for a number") from None
    return tuple(parts[1 : order + 1]), (log10 * LN10, backoff * LN10)
