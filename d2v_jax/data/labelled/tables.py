"""Texts and pairs of texts with labels: a row of a table each, as GLUE's files have them."""

import csv
import dataclasses
import functools
import io
import logging
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from d2v_jax.common.checks import UserError
from d2v_jax.data.labelled import chosen, in_order, labels, texts
from d2v_jax.data.opened import Opened, joined
from d2v_jax.data.records import BadRecord, Record, Source, fingerprint_of
from d2v_jax.data.sources import PYTHON_DOCS, only_train, part_of
from d2v_jax.data.stores.folder import numbered
from d2v_jax.data.text import rows
from d2v_jax.data.text.tokenizer import Tokenizer

log = logging.getLogger("d2v")

SUFFIXES = (".tsv", ".csv")
WARNED = 20


@dataclasses.dataclass(frozen=True)
class Columns:
    """Which hold the texts, one or two, and which the label: names, or numbers from 0.

    A number means that the file has no line of names.
    """

    texts: tuple[str, ...]
    label: str

    @property
    def named(self) -> bool:
        return not all(name.lstrip("-").isdigit() for name in (*self.texts, self.label))


class Texts(Protocol):
    """What is asked of the `data` section of a recipe of texts."""

    source: str
    split: str
    labels: str
    label_names: tuple[str, ...]
    per_class: int
    balance: bool
    columns: tuple[str, ...]
    label_column: str
    tokens: int
    most_tokens: int

    def each(self) -> Sequence["Texts"]: ...
    def lengths(self) -> tuple[int, ...]: ...
    def open_tokenizer(self) -> Tokenizer: ...
    def records(self, blocks: str) -> Source: ...


def opened_of(data: Texts) -> Opened:
    """Whole texts, each padded to the shortest length that holds it, or cut to the longest."""
    sources = [source_of(one) for one in data.each()]
    counts_n = np.concatenate([source.lengths for source in sources]) + 1  # `<s>`
    edges = data.lengths()
    number_n = np.minimum(np.searchsorted(edges, counts_n), len(edges) - 1)
    buckets = tuple((edge, np.flatnonzero(number_n == i)) for i, edge in enumerate(edges))
    cut_off = functools.partial(rows.cut_off, ids=data.open_tokenizer().ids)
    cut = labels.WithLabel(cut_off, labels.LABELS[data.labels](data))
    follows = ("labelled text", data.labels, data.label_names, edges, data.columns)
    follows += (data.label_column, data.per_class, data.most_tokens, data.balance)
    return joined(sources, cut, follows, data.tokens, buckets)


def source_of(data: Texts) -> Source:
    """A table of texts; of builtin:python-docs passages, whose label is their document."""
    part = part_of(data.split)
    if data.source.strip() == PYTHON_DOCS:
        found = _passages(data, part.split)
    else:
        only_train(data.source, part.split)
        wanted = Columns(tuple(data.columns), data.label_column)
        found = Table(data.source, wanted, data.open_tokenizer())
    found = chosen.in_part(found, part, data.source)
    if data.labels != "class":
        return found
    return chosen.of_classes(found, data.label_names, data.per_class, data.balance)


def in_order_of(data: Texts) -> Iterator[labels.Labelled]:
    """Examples as the model is given them: `<s>` in front, at most `data.tokens` ids."""

    bos = data.open_tokenizer().ids.bos

    def ids_of(record: Record) -> np.ndarray:
        return np.concatenate([[bos], record.data])[: data.tokens].astype(np.int32)

    return in_order.read(source_of(data), ids_of, labels.LABELS[data.labels](data).of)


def _passages(data: Any, split: str) -> Source:
    """ "learn" and "test" of the documentation have no line in common."""
    only_train(data.source, split, ("learn", "test"))
    source = dataclasses.replace(data, labels="none", split="train").records("documents")
    known = data.open_tokenizer().ids
    parts = texts.labelled_texts(source, data.source, data.tokens, len(source), 0, known)
    names = [source.class_names[label] for label in np.concatenate([p.labels for p in parts])]
    classes, numbers = numbered(names)
    learnt = len(parts[0].labels)
    numbers = numbers[learnt:] if split == "test" else numbers[:learnt]
    ids = [ids_t[1:] for ids_t in parts[split == "test"].texts]
    return Held(f"{data.source} {split}", ids, numbers, classes)


class Table:
    """The rows of one file; broken ones are named and left out.

    `Record.data` are the ids of the texts, a pair's joined as in the originals (REFERENCE §12.4);
    `text` is the label as it is written, and `label` its number among the `class_names`.
    """

    def __init__(self, source: str, columns: Columns, tokenizer: Tokenizer):
        """Raises `UserError` where the file cannot be read or lacks a column."""
        path = pathlib.Path(source).expanduser()
        self.faults: dict[str, str] = {}
        rows = _rows(path)
        first, numbers = _places(path, rows, columns)
        found, written, names = [], [], []
        for number, row in enumerate(rows[first:], first + 1):
            name = f"{path.name}:{number}"
            if len(row) != len(rows[0]):
                self._left_out(name, f"{len(row)} columns, the first row has {len(rows[0])}")
            elif not all(row[i].strip() for i in numbers):
                self._left_out(name, "an empty text or label")
            else:
                found.append([row[i].strip() for i in numbers[:-1]])
                written.append(row[numbers[-1]].strip())
                names.append(name)
        if self.faults:
            log.warning("%d rows of %s were left out", len(self.faults), path)
        if not found:
            raise UserError(f"{path}: no row has both texts and a label; check {columns}")
        self._names, self._written = names, written
        self.class_names, self._labels = numbered(written)
        self._ids = [_joined(tokenizer, one) for one in found]
        self.lengths = np.array([len(ids_t) for ids_t in self._ids], np.int64)
        self.fingerprint = fingerprint_of(
            ("table", tokenizer.fingerprint, *map(tuple, found), *written)
        )

    def _left_out(self, name: str, why: str) -> None:
        self.faults[name] = why
        if len(self.faults) <= WARNED:
            log.warning("skipped %s: %s", name, why)

    def __len__(self) -> int:
        return len(self._names)

    def name(self, index: int) -> str:
        """That of record `index`: FILE:LINE."""
        return self._names[index]

    def label(self, index: int) -> int:
        """The class of record `index`."""
        return int(self._labels[index])

    def read(self, index: int) -> Record:
        return Record(self._ids[index], self.label(index), self._names[index], self._written[index])


def _joined(tokenizer: Tokenizer, texts: Sequence[str]) -> np.ndarray:
    """Ids int32 [t] without the `<s>` in front: A `</s>`, and of a pair `</s>` B `</s>`,
    or for BERT A [SEP] B [SEP].
    """
    parts = [tokenizer.encode([text]) for text in texts]
    if len(parts) == 1:
        return parts[0]
    between = [tokenizer.ids.eos] * tokenizer.ids.doubled
    return np.concatenate([parts[0], between, parts[1]]).astype(np.int32)


def _rows(path: pathlib.Path) -> list[list[str]]:
    """Cells; tabs part those of .tsv, whose quotes mean nothing."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(
            f"data.source={str(path)!r}: there is no such file. Give a table ending in "
            f"{' or '.join(SUFFIXES)}"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as UTF-8 text ({error})") from None
    if path.suffix.lower() == ".csv":
        rows = list(csv.reader(io.StringIO(text, newline="")))
    else:
        rows = [line.removesuffix("\r").split("\t") for line in text.split("\n") if line.strip()]
    if not rows:
        raise UserError(f"{path} is empty")
    return rows


def _places(path: pathlib.Path, rows: list[list[str]], columns: Columns) -> tuple[int, list[int]]:
    """-> (number of the first row that counts, the places of texts and label in a row)."""
    wanted = (*columns.texts, columns.label)
    if not columns.named:
        places = [int(name) for name in wanted]
        if max(places) >= len(rows[0]) or min(places) < -len(rows[0]):
            raise UserError(
                f"{path}: its first row has {len(rows[0])} columns, and number "
                f"{', '.join(wanted)} are asked for, counted from 0; correct data.columns and "
                "data.label_column"
            )
        return 0, places
    names = [name.strip() for name in rows[0]]
    for name in wanted:
        if name not in names:
            raise UserError(
                f"{path}: no column {name!r}; it has {', '.join(names[:12])}. Set data.columns and "
                "data.label_column, to numbers from 0 where the file has no line of names"
            )
    return 1, [names.index(name) for name in wanted]


class Held:
    """Examples held in memory: ids int32 [t] without `<s>`, and their classes."""

    def __init__(self, name: str, ids: Sequence[np.ndarray], labels: np.ndarray, classes):
        self._name, self._ids, self._labels = name, ids, labels
        self.class_names = tuple(classes)
        self.faults: dict[str, str] = {}
        self.lengths = np.array([len(ids_t) for ids_t in ids], np.int64)
        self.fingerprint = fingerprint_of((name, labels.tolist(), self.lengths.tolist()))

    def __len__(self) -> int:
        return len(self._ids)

    def name(self, index: int) -> str:
        """That of record `index`."""
        return f"{self._name} example {index}"

    def label(self, index: int) -> int:
        """The class of record `index`."""
        return int(self._labels[index])

    def read(self, index: int) -> Record:
        if not len(self._ids[index]):
            raise BadRecord("is empty", self.name(index))
        return Record(self._ids[index], self.label(index), self.name(index))
