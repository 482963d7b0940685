"""What the outputs of a CTC head stand for."""

import dataclasses
import json
import pathlib
import re
import unicodedata
from collections.abc import Sequence

from d2v_jax.common.checks import UserError
from d2v_jax.common.names import lines_of

BETWEEN_WORDS = "|"
SPECIAL = re.compile(r"<.*>|\[.*\]")  # <s>, <pad>, [PAD] and the like: never written out
# fairseq's English letters: its four special symbols, then letters by frequency (REFERENCE §12.1).
ENGLISH = ("<s>", "<pad>", "</s>", "<unk>", *"|ETAONIHSRDLUMWCFGYPBVK'XJQZ")


class NotInVocabulary(ValueError):
    """A transcript has a character that no output stands for."""


@dataclasses.dataclass(frozen=True)
class Letters:
    """`symbols[i]` is what output i stands for; `blank` the output that stands for nothing."""

    symbols: tuple[str, ...]
    blank: int = 0
    spelling: str = "exact"

    def __post_init__(self) -> None:
        if not 0 <= self.blank < len(self.symbols):
            raise UserError(f"blank={self.blank} is none of the {len(self.symbols)} outputs")
        if len(set(self.symbols)) < len(self.symbols):
            twice = next(one for one in self.symbols if self.symbols.count(one) > 1)
            raise UserError(f"the vocabulary has {twice!r} twice; each output needs its own")

    @property
    def between_words(self) -> int | None:
        """The output that separates words."""
        return self.symbols.index(BETWEEN_WORDS) if BETWEEN_WORDS in self.symbols else None

    def encode(self, text: str) -> list[int]:
        """Outputs for a transcript, words separated, in the case that the vocabulary has.

        Raises `NotInVocabulary` for other characters, and for a transcript without any.
        """
        text = spelt(text, self.spelling)
        known = {symbol: i for i, symbol in enumerate(self.symbols) if i != self.blank}
        words = text.split()
        if not words:
            raise NotInVocabulary("the transcript is empty")
        written = (BETWEEN_WORDS if BETWEEN_WORDS in known else "").join(words)
        ids = []
        for character in written:
            found = next(
                (c for c in (character, character.upper(), character.lower()) if c in known), None
            )
            if found is None:
                raise NotInVocabulary(f"{character!r} is not in the vocabulary")
            ids.append(known[found])
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of a labelling, without blanks and special symbols."""
        shown = (self.symbols[i] for i in ids if i != self.blank)
        text = "".join(one for one in shown if not SPECIAL.fullmatch(one))
        return " ".join(text.replace(BETWEEN_WORDS, " ").split())


# "exact": transcripts as they are; "spoken": punctuation is left out, which nobody says.
SPELLINGS = ("exact", "spoken")


def spelt(text: str, spelling: str) -> str:
    """`text` as a model of this spelling learns it, less case."""
    if spelling == "exact":
        return " ".join(text.split())
    kept = (c if c == "'" or not unicodedata.category(c).startswith("P") else " " for c in text)
    return " ".join("".join(kept).split())


def read(path: str | pathlib.Path) -> Letters:
    """fairseq's dict.ltr.txt ("SYMBOL COUNT" per line) or Hugging Face's vocab.json.

    Blank is `<s>` of the former, `<pad>` of the latter. Raises `UserError` naming file and line.
    """
    path = pathlib.Path(path).expanduser()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as text ({error})") from None
    if path.suffix == ".json":
        return _json(path, text)
    symbols = list(ENGLISH[:4])
    for number, line in enumerate(lines_of(text), 1):
        symbol, _, count = line.rpartition(" ")
        if not symbol or not count.isdigit():
            raise UserError(f"{path} line {number}: {line[:60]!r} is not SYMBOL COUNT")
        symbols.append(symbol)
    return Letters(tuple(symbols))


def _json(path: pathlib.Path, text: str) -> Letters:
    try:
        ids = json.loads(text)
    except ValueError:
        ids = None
    whole = (
        isinstance(ids, dict)
        and all(type(i) is int for i in ids.values())
        and sorted(ids.values()) == list(range(len(ids)))
    )
    if not whole:
        raise UserError(f"{path}: must be an object of symbols with their numbers, 0 to n - 1")
    ordered = sorted(ids, key=ids.__getitem__)
    blank = next((ids[name] for name in ("<pad>", "[PAD]") if name in ids), 0)
    return Letters(tuple(ordered), blank)
