"""Text files: an empty line ends a document, every other line is a sentence or paragraph."""

import logging
import os
import pathlib
from collections.abc import Iterable, Iterator

from d2v_jax.common.checks import UserError
from d2v_jax.data.corpus import Document
from d2v_jax.data.folder import TEXTS, Folder
from d2v_jax.data.records import BadRecord

log = logging.getLogger("d2v")


class TextFiles:
    """One .txt file, or all of a folder, in the order of their relative paths.

    Attributes:
        names: of the files.
        faults: reason by name, of the files that `documents` could not read.
    """

    def __init__(self, path: str | os.PathLike):
        """Raises `UserError` where there is none."""
        self._path = pathlib.Path(path).expanduser()
        self.faults: dict[str, str] = {}
        if self._path.is_file():
            self._root, self.names = self._path.parent, [self._path.name]
        else:
            folder = Folder(path, TEXTS)
            self._root, self.names = folder.root, folder.names

    def documents(self) -> Iterator[Document]:
        """Documents of every readable file; the others are left out with a warning."""
        for name in self.names:
            try:
                lines = _read_lines(self._root / name)
            except BadRecord as bad:
                self.faults[name] = bad.reason
                log.warning("skipped %s: %s", name, bad.reason)
                continue
            yield from split(lines, name)

    def check_faults(self, max_share: float) -> None:
        """Raises `UserError` when more than this share of the files could not be read."""
        if len(self.faults) > max_share * len(self.names):
            name, reason = next(iter(self.faults.items()))
            raise UserError(
                f"data.source={str(self._path)!r}: {len(self.faults)} of {len(self.names)} files "
                f"are unreadable, more than data.max_bad_share={max_share} allows, for example "
                f"{name}: {reason}. Repair or remove them, or raise data.max_bad_share"
            )


def split(lines: Iterable[str], name: str) -> Iterator[Document]:
    """Documents of a file's lines, named after it and the number of their first line."""
    held: list[str] = []
    first = 1
    for number, line in enumerate(lines, 1):
        line = line.strip()
        if line:
            if not held:
                first = number
            held.append(line)
        elif held:
            yield Document(f"{name}:{first}", tuple(held))
            held = []
    if held:
        yield Document(f"{name}:{first}", tuple(held))


def _read_lines(path: pathlib.Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise BadRecord(error.strerror or str(error)) from error
    except UnicodeDecodeError as error:
        raise BadRecord(f"not UTF-8: {error.reason} at byte {error.start}") from error
    if "\0" in text:
        raise BadRecord("not text: it holds NUL bytes")
    return text.split("\n")
