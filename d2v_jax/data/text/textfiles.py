"""Files of text, of JSON lines and Parquet, to documents."""

import difflib
import logging
import os
from collections.abc import Iterable, Iterator

from d2v_jax.common.checks import UserError
from d2v_jax.common.names import lines_of, place, writable
from d2v_jax.data.records import BadRecord, fingerprint_of
from d2v_jax.data.stores import packed
from d2v_jax.data.stores.folder import Folder, Kind
from d2v_jax.data.text import jsonl, parquet, tabular
from d2v_jax.data.text.documents import Document
from d2v_jax.data.text.jsonl import NoColumn

log = logging.getLogger("d2v")

PACKED = ("", ".gz", ".bz2", ".xz", ".zst")
PLAIN = tuple(".txt" + packed for packed in PACKED)
LINES = tuple(name + packed for name in (".jsonl", ".ndjson") for packed in PACKED)
JSON = tuple(".json" + packed for packed in PACKED)
TABLES = tuple(name + packed for name in (".csv", ".tsv") for packed in PACKED)
EXTRACT = "extract its text to .txt files"
TEXTS = Kind(
    "text file",
    (*PLAIN, *LINES, *parquet.SUFFIXES),
    "a folder of .txt, .jsonl or .parquet files, one such file (also .json, .csv, .tsv; .gz, .bz2, "
    ".xz and .zst of all but Parquet), tfds:NAME, a folder that d2v data prepare wrote, or "
    "builtin:python-docs",
    second=JSON,
    unread=dict.fromkeys((".pdf", ".docx", ".doc", ".odt", ".rtf", ".epub", ".html"), EXTRACT),
)

AT_ONCE = 1 << 20  # bytes, or characters of a document, held at once
TRIED = 1000  # records none of which has the column: no use in reading on
WARNED = 20  # of each source; the others are only counted


class Faults:
    """What could not be read of one source.

    Attributes:
        reasons: by name, of files and of single records.
    """

    def __init__(self, source: str, column: str):
        self._source, self._column = source, column
        self.reasons: dict[str, str] = {}
        self.files = self._bad_files = self.records = self._bad_records = 0
        self._columns: dict[str, None] = {}  # a set in order
        self._missing = 0

    def add(self, name: str, bad: BadRecord, is_file: bool) -> None:
        """Raises `UserError` when the column seems to be missing everywhere."""
        self.reasons[name] = bad.reason
        self._bad_files += is_file
        self._bad_records += not is_file
        if len(self.reasons) <= WARNED:
            log.warning("skipped %s: %s", name, bad.reason)
        if isinstance(bad, NoColumn):
            self._columns.update(dict.fromkeys(bad.columns))
            self._missing += 1
            if self._missing == self.records + self._bad_files == TRIED:
                raise self._no_column()

    def _no_column(self) -> UserError:
        near = difflib.get_close_matches(self._column, self._columns, n=1, cutoff=0.5)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        return UserError(
            f"data.source={self._source!r}: there is no column {self._column!r} (data.column); "
            f"there are {', '.join(list(self._columns)[:20])}.{hint}"
        )

    def check(self, max_share: float) -> None:
        """Raises `UserError` when more than this share of the files or records is unreadable."""
        if len(self.reasons) > WARNED:
            log.warning("skipped %d more of %s", len(self.reasons) - WARNED, self._source)
        if self._missing and self._missing == self.records + self._bad_files:
            raise self._no_column()
        for bad, count, what in (
            (self._bad_files, self.files, "files"),
            (self._bad_records, self.records, "records"),
        ):
            if bad > max_share * count:
                name, reason = next(iter(self.reasons.items()))
                raise UserError(
                    f"data.source={self._source!r}: {bad} of {count} {what} are unreadable, more "
                    f"than data.max_bad_share={max_share} allows, for example {name}: {reason}. "
                    "Repair or remove them, or raise data.max_bad_share"
                )


class TextFiles:
    """One file, or all of a folder, in the order of their relative paths.

    In .txt an empty line ends a document, every other line is a sentence or paragraph. In JSON,
    tables and Parquet each record is a document.

    Attributes:
        names: of the files.
        fingerprint: of their names and sizes, and the column.
    """

    class_names = None

    def __init__(self, path: str | os.PathLike, column: str = "text"):
        """Raises `UserError` where there is none."""
        self._path = place(path)
        self._column = column
        self._left_out: dict[str, str] = {}
        self.passed_over: dict[str, int] = {}
        if self._path.is_file():
            self._root, self.names = self._path.parent, [self._path.name]
            files = fingerprint_of(("file", self._path.name, self._path.stat().st_size))
        else:
            folder = Folder(path, TEXTS)
            self._root, self.names, files = folder.root, folder.paths, folder.fingerprint
            self._left_out, self.passed_over = folder.faults, folder.passed_over
        self.fingerprint = fingerprint_of(("texts", files, column))
        self._faults = Faults(str(self._path), column)

    @property
    def faults(self) -> dict[str, str]:
        """Reasons by name, of the files and records that `documents` could not read."""
        return {**self._left_out, **self._faults.reasons}

    def check_faults(self, max_share: float) -> None:
        """Raises `UserError` when more than this share of the files or records is unreadable."""
        self._faults.check(max_share)

    def documents(self) -> Iterator[Document]:
        """Documents of all that is readable, long ones in parts; warns of the rest."""
        self._faults = Faults(str(self._path), self._column)
        for name in self.names:
            self._faults.files += 1
            try:
                yield from self._of_file(name)
            except BadRecord as bad:
                self._faults.add(writable(name), bad, is_file=True)

    def _of_file(self, name: str) -> Iterator[Document]:
        path = self._root / name
        lower = name.lower()
        if lower.endswith(parquet.SUFFIXES):
            records = parquet.read(path, self._column)
        elif lower.endswith(TABLES):
            separator = "\t" if ".tsv" in lower[-8:] else ","
            records = tabular.read(path, self._column, separator)
        elif lower.endswith(LINES + JSON):
            records = jsonl.read(path, self._column)
        else:
            packed.check_text(path)
            yield from split(packed.lines(path), writable(name))
            return
        yield from documents_of(records, writable(name), self._faults)


def documents_of(
    records: Iterable[tuple[int, jsonl.Found]], name: str, faults: Faults, separator: str = ":"
) -> Iterator[Document]:
    """A document for each record, named after the file and its number there."""
    for number, text in records:
        own = f"{name}{separator}{number}"
        faults.records += 1
        if isinstance(text, BadRecord):
            faults.add(own, text, is_file=False)
            continue
        lines = (line.strip() for line in lines_of(text))
        yield Document(own, tuple(line for line in lines if line))


def split(lines: Iterable[str], name: str) -> Iterator[Document]:
    """Documents of a file's lines, named after it and the number of their first line."""
    held: list[str] = []
    size = 0
    own = ""  # while inside a document
    for number, line in enumerate(lines, 1):
        line = line.strip()
        if not line:
            if own:
                yield Document(own, tuple(held))
                held, size, own = [], 0, ""
            continue
        own = own or f"{name}:{number}"
        held.append(line)
        size += len(line)
        if size >= AT_ONCE:
            yield Document(own, tuple(held), more=True)
            held, size = [], 0
    if own:
        yield Document(own, tuple(held))
