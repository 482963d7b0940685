"""BERT's WordPiece, from the files that its checkpoints come with."""

import itertools
import json
import pathlib
from collections.abc import Sequence

import numpy as np
import tokenizers

from d2v_jax.common.checks import UserError
from d2v_jax.data.records import fingerprint_of
from d2v_jax.data.text.rows import Specials
from d2v_jax.data.text.vocabularies.whole import SETTINGS, WHOLE, before, model_of, opened

LIST = "vocab.txt"
GOES_ON = "##"  # in front of what continues a word
CLS, PAD, SEP, UNK, MASK = NEEDED = ("[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]")
LONGEST = 100  # letters of a word; longer ones are unknown


def is_one(folder: pathlib.Path) -> bool:
    """Whether a folder holds the files of one."""
    return (folder / LIST).is_file() or model_of(folder).get("type") == "WordPiece"


class WordPiece:
    """Ids are those of the files; text that looks like a special token is only text."""

    def __init__(self, folder: pathlib.Path):
        """Raises `UserError` for files that cannot be read or lack a special token."""
        whole = model_of(folder).get("type") == "WordPiece"
        self.paths = [folder / WHOLE] if whole else [folder / LIST]
        if not whole and (folder / SETTINGS).is_file():
            self.paths.append(folder / SETTINGS)
        try:
            self._tokenizer = opened(folder) if whole else _listed(folder)
        except Exception as error:  # the library raises bare Exception
            raise UserError(f"data.tokenizer={str(folder)!r}: {error}") from error
        types = self._tokenizer.get_vocab(with_added_tokens=False)
        if missing := [name for name in NEEDED if name not in types]:
            raise UserError(
                f"data.tokenizer={str(folder)!r}: {self.paths[0].name} lacks {', '.join(missing)}, "
                "which BERT's have; fetch it again"
            )
        self.vocab_size = max(types.values()) + 1
        self.ids = Specials(types[CLS], types[PAD], types[SEP], types[UNK], doubled=False)
        self.mask_id = types[MASK]
        opens = np.zeros(self.vocab_size, bool)
        opens[[number for text, number in types.items() if not text.startswith(GOES_ON)]] = True
        self.breaks = opens, np.zeros(self.vocab_size, bool)
        self.fingerprint = fingerprint_of(
            ("wordpiece", sorted(types.items()), before(self._tokenizer))
        )

    def encode(self, lines: Sequence[str]) -> np.ndarray:
        """int32 [t]: the ids of all lines one after the other, `[SEP]` after each."""
        encodings = self._tokenizer.encode_batch_fast(list(lines), add_special_tokens=False)
        end = self.ids.eos
        return np.fromiter(
            itertools.chain.from_iterable((*e.ids, end) for e in encodings), np.int32
        )

    def whole(self, mask_id: int) -> None:
        """Its files are what others open."""
        del mask_id


def _listed(folder: pathlib.Path) -> tokenizers.Tokenizer:
    """A token in each line; lower case unless the settings beside it say otherwise."""
    types = (folder / LIST).read_text(encoding="utf-8").removesuffix("\n").split("\n")
    settings = folder / SETTINGS
    lower = (
        json.loads(settings.read_text()).get("do_lower_case", True) if settings.is_file() else True
    )
    model = tokenizers.models.WordPiece(
        {name: number for number, name in enumerate(types)},
        unk_token=UNK,
        max_input_chars_per_word=LONGEST,
    )
    found = tokenizers.Tokenizer(model)
    found.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=bool(lower))
    found.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    return found
