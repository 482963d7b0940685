"""Text to token ids: bytes, GPT-2's byte-level BPE or BERT's WordPiece from their files."""

import itertools
import json
import os
import pathlib
import shutil
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import tokenizers

from d2v_jax.common.checks import UserError
from d2v_jax.data.records import fingerprint_of
from d2v_jax.data.stores.prepared import INDEX, looks_prepared
from d2v_jax.data.text.rows import EOS, OURS, SPECIALS, UNK, Specials
from d2v_jax.data.text.vocabularies import whole, wordpiece
from d2v_jax.data.text.vocabularies.bpe import (
    DICTIONARY,
    MERGES,
    VOCAB,
    byte_letters,
    of_python_docs,
)

BYTES = "bytes"
DOCS = "builtin:python-docs"
# Vocabularies that begin like this hold the final ids already, `<mask>` included.
RESERVED = {"<s>": 0, "<pad>": 1, "</s>": EOS, "<unk>": UNK}
SPACE, SPACE_TYPE = " ", "Ġ"  # a space, and what GPT-2 writes for it in front of a word
# bool [id] each: ids that begin a word, and ids that end what is before a word.
Breaks = tuple[np.ndarray, np.ndarray]


class Tokenizer(Protocol):
    """Ids 0 `<s>`, 1 `<pad>`, 2 `</s>`, 3 `<unk>`, then the types, `<mask>` = vocab_size - 1.

    WordPiece has its own, and says so in `ids` and `mask_id`.
    """

    vocab_size: int
    ids: Specials
    mask_id: int
    fingerprint: str
    breaks: Breaks
    paths: Sequence[pathlib.Path]  # its files

    def encode(self, lines: Sequence[str]) -> np.ndarray:
        """int32 [t]: the ids of all lines one after the other, `</s>` after each."""
        ...

    def whole(self, mask_id: int) -> tokenizers.Tokenizer | None:
        """As others open it, in final ids with `<mask>`; None where its files are that already."""
        ...


def tokenizer_of(name: str, source: str) -> Tokenizer:
    """That of `name`; where it is empty, that of the first source, which is prepared.

    `name` and `source` are `data.tokenizer` and `data.source`. Raises `UserError` where it cannot
    be opened.
    """
    first = source.split(" + ")[0].strip()
    prepared = looks_prepared(first)
    try:
        return open_tokenizer(name if name.strip() or not prepared else first)
    except UserError as error:
        if not prepared:
            raise
        raise UserError(
            f"{error}. The one that data.source was prepared with lies in it: "
            f"data.tokenizer={first!r}"
        ) from error


def open_tokenizer(name: str) -> Tokenizer:
    """`name`: "bytes", "builtin:python-docs", a folder with vocab.json and merges.txt or
    tokenizer.json and maybe dict.txt, one with BERT's vocab.txt or tokenizer.json, or one with
    prepared text.
    """
    if name == BYTES:
        return Bytes()
    if name == DOCS:
        return Bpe(of_python_docs())
    folder = pathlib.Path(name).expanduser()
    if not name.strip() or not folder.is_dir():
        raise UserError(
            f"data.tokenizer={name!r}: there is no such folder. Give 'bytes', '{DOCS}', or the "
            f"path of a folder with {VOCAB} and {MERGES} in GPT-2's format (and fairseq's "
            f"{DICTIONARY} for the ids of its released models), with BERT's {wordpiece.LIST}, with "
            f"the {whole.WHOLE} of either, or one that d2v data prepare wrote"
        )
    if (folder / INDEX).is_file():
        try:
            if json.loads((folder / INDEX).read_text(encoding="utf-8"))["tokenizer"] == BYTES:
                return Bytes()
        except (ValueError, OSError, KeyError, TypeError):
            pass  # images, sounds, or damaged: then it has no tokenizer, as is said below
    return wordpiece.WordPiece(folder) if wordpiece.is_one(folder) else Bpe(folder)


def require_room(tokenizer: Tokenizer, name: str, frontend: Any) -> None:
    """Raises unless a model has every id of the tokenizer, called `name`, and hides and pads with
    the same: with `<mask>` or, where that is the last id, one behind it.
    """
    ids, mask, pad = tokenizer.vocab_size, tokenizer.mask_id, tokenizer.ids.pad
    last = mask == ids - 1
    hides = frontend.mask_id >= mask if last else frontend.mask_id == mask
    if frontend.vocab_size >= ids and hides and frontend.pad_id == pad:
        return
    which = "the last of them `<mask>`" if last else f"of them {mask} [MASK]"
    right = {"vocab_size": ids, "mask_id": mask}
    if frontend.pad_id != pad:
        which, right["pad_id"] = f"{which}, {pad} padding", pad
    said = " and ".join(f"frontend.{field}={getattr(frontend, field)}" for field in right)
    raise UserError(
        f"data.tokenizer={name!r} has {ids} ids, {which}, but {said}; for this tokenizer set them "
        f"to {' and '.join(map(str, right.values()))}, or give the tokenizer that belongs to the "
        "model"
    )


def has_files(folder: pathlib.Path) -> bool:
    """Whether a folder holds a tokenizer."""
    return _has_pair(folder) or wordpiece.is_one(folder) or whole.model_of(folder) != {}


def keep_files(tokenizer: Tokenizer, folder: pathlib.Path, frontend: Any = None) -> None:
    """Copies a tokenizer's files, if it has any, so that what is trained with it can be moved.

    For the model with `frontend`, as other people's libraries open them: in its ids. Raises
    `UserError` where that cannot be.
    """
    if frontend is not None:
        require_room(tokenizer, str(folder), frontend)
        if made := tokenizer.whole(frontend.mask_id):
            whole.write(folder, made)
            return
    for path in tokenizer.paths:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, folder / path.name)


class Bytes:
    """One id per byte of UTF-8: 4 + byte."""

    vocab_size = SPECIALS + 256 + 1
    mask_id = vocab_size - 1
    ids = OURS
    fingerprint = "bytes"
    paths = ()

    @property
    def breaks(self) -> Breaks:
        closes = np.zeros(self.vocab_size, bool)
        closes[SPECIALS + ord(SPACE)] = True
        return np.zeros(self.vocab_size, bool), closes

    def encode(self, lines: Sequence[str]) -> np.ndarray:
        text = "".join(f"{line}\n" for line in lines)
        byte_t = np.frombuffer(text.encode(errors="replace"), np.uint8)
        # Lines hold no line feed of their own: it stands for their end.
        return np.where(byte_t == ord("\n"), EOS, byte_t.astype(np.int32) + SPECIALS)

    def whole(self, mask_id: int) -> tokenizers.Tokenizer:
        types = {letter: SPECIALS + byte for byte, letter in enumerate(byte_letters())}
        like = tokenizers.Tokenizer(tokenizers.models.BPE())
        like.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
        return whole.bpe(types, [], like, mask_id)


class Bpe:
    """GPT-2's byte-level BPE.

    Ids are 4 + the id of vocab.json, unless the folder also has fairseq's dict.txt, whose line
    order then gives them ("<id in vocab.json> <count>" per line; types it lacks are `<unk>`).
    Types that have the specials in their places (Hugging Face's RoBERTa) are taken as they are.
    tokenizer.json stands for the two files where they are missing.
    """

    ids = OURS

    def __init__(self, folder: str | os.PathLike):
        """Raises `UserError` for missing or unreadable files."""
        folder = pathlib.Path(folder)
        dictionary = folder / DICTIONARY
        # The two files count where both kinds are there: fairseq's dictionary belongs to them.
        opened = _opened_whole if not _has_pair(folder) and whole.model_of(folder) else _opened_pair
        self.paths, self._tokenizer, types, merges = opened(folder)
        if dictionary.is_file():
            self.paths.append(dictionary)
        if RESERVED.items() <= types.items():
            ids, self.vocab_size = np.arange(len(types)), len(types)
            if types.get("<mask>") != len(types) - 1:
                raise UserError(f"{self.paths[0]}: '<mask>' must be the last id, {len(types) - 1}")
        elif dictionary.is_file():
            ids, self.vocab_size = _fairseq_ids(dictionary, len(types))
        else:
            ids, self.vocab_size = np.arange(len(types)) + SPECIALS, len(types) + SPECIALS + 1
        self.mask_id = self.vocab_size - 1
        # A last entry, so that index -1, which stands for the end of a line, finds its id too.
        self._number = np.append(ids, EOS).astype(np.int32)
        opens = np.zeros(self.vocab_size, bool)
        opens[[ids[number] for text, number in types.items() if text[:1] == SPACE_TYPE]] = True
        opens[UNK] = False
        self.breaks = opens, np.zeros(self.vocab_size, bool)
        self.fingerprint = fingerprint_of(("bpe", sorted(types.items()), merges, ids.tolist()))

    def encode(self, lines: Sequence[str]) -> np.ndarray:
        encodings = self._tokenizer.encode_batch_fast(list(lines), add_special_tokens=False)
        chained = itertools.chain.from_iterable((*one.ids, -1) for one in encodings)
        return self._number[np.fromiter(chained, np.int64)]

    def whole(self, mask_id: int) -> tokenizers.Tokenizer:
        """Raises `UserError` where types have no id of their own."""
        stored = json.loads(self._tokenizer.to_str())["model"]
        types = {text: int(self._number[number]) for text, number in stored["vocab"].items()}
        if len(set(types.values())) < len(types):
            raise UserError(f"{self.paths[-1]} lacks types of {VOCAB}")
        return whole.bpe(types, stored["merges"], self._tokenizer, mask_id)


# Its files, what splits and merges, type to id, and all else that its ids depend on.
Opened = tuple[list[pathlib.Path], tokenizers.Tokenizer, dict[str, int], Any]


def _has_pair(folder: pathlib.Path) -> bool:
    return all((folder / name).is_file() for name in (VOCAB, MERGES))


def _opened_pair(folder: pathlib.Path) -> Opened:
    """From GPT-2's two files."""
    paths = [folder / VOCAB, folder / MERGES]
    for path in paths:
        if not path.is_file():
            raise UserError(
                f"data.tokenizer={str(folder)!r} has no {path.name}; a tokenizer is the two "
                f"files {VOCAB} and {MERGES} in GPT-2's format, or one {whole.WHOLE}"
            )
    try:
        types = json.loads(paths[0].read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise UserError(f"{paths[0]} is not readable as JSON: {error}") from error
    _require_dense(types, paths[0])
    try:
        model = tokenizers.models.BPE.from_file(*map(str, paths))
    except Exception as error:  # the library raises bare Exception
        raise UserError(f"data.tokenizer={str(folder)!r}: {error}") from error
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    return paths, tokenizer, types, paths[1].read_bytes()


def _opened_whole(folder: pathlib.Path) -> Opened:
    """From the one file of the `tokenizers` library."""
    path, model = folder / whole.WHOLE, whole.model_of(folder)
    try:
        tokenizer = whole.opened(folder)
    except Exception as error:  # the library raises bare Exception
        raise UserError(f"{path} cannot be read: {error}") from error
    before = whole.before(tokenizer)
    if model.get("type") != "BPE" or not any("ByteLevel" in part for part in before):
        raise UserError(
            f"{path} holds a tokenizer of the kind {model.get('type')!r} that does not work on "
            "bytes; read are byte-level BPE (GPT-2, RoBERTa, BART) and WordPiece (BERT)"
        )
    types = tokenizer.get_vocab(with_added_tokens=False)
    _require_dense(types, path)
    return [path], tokenizer, types, (model.get("merges"), before)


def _require_dense(types: Any, path: pathlib.Path) -> None:
    """Ids must be 0 to n - 1."""
    if not isinstance(types, dict) or sorted(types.values()) != list(range(len(types))):
        raise UserError(f"{path} must map each type to an id, without gaps from 0 on")


def _fairseq_ids(path: pathlib.Path, types: int) -> tuple[np.ndarray, int]:
    """The id of each of `types` types of vocab.json, and the number of ids with `<mask>`."""
    ids = np.full(types, UNK, np.int64)
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines):
        symbol = line.split(" ", 1)[0]
        if not symbol.isdecimal():
            continue  # "madeupword0000 0" fills the table to a multiple of eight
        place = int(symbol)
        if place >= types or ids[place] != UNK:
            what = "occurs twice" if place < types else f"is beyond the {types} types of {VOCAB}"
            raise UserError(
                f"{path}, line {number + 1}: {symbol} {what}; this dictionary belongs to another "
                "vocabulary"
            )
        ids[place] = SPECIALS + number
    if (ids == UNK).all():
        raise UserError(f"{path}: no line such as '262 8000', an id of {VOCAB} and a count")
    return ids, SPECIALS + len(lines) + 1
