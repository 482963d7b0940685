"""A folder of files of one kind, nested as deep as it likes."""

import dataclasses
import os
import pathlib
from collections.abc import Sequence

import numpy as np

from d2v_jax.common.checks import UserError
from d2v_jax.data.records import BadRecord, Record, fingerprint_of


@dataclasses.dataclass(frozen=True)
class Kind:
    """Which files count, what one is called, and what `data.source` may be for this modality.

    `shards`: whether that may be ArrayRecord files too.
    """

    noun: str
    suffixes: tuple[str, ...]
    sources: str
    shards: bool = False


class Folder:
    """The files of one kind under `root`, in the order of their relative paths.

    When every file lies in a sub-folder, the first component of its path is its class.
    """

    def __init__(self, root: str | os.PathLike, kind: Kind):
        """Lists the files. Raises `UserError` for a missing folder or one without any."""
        self.root = pathlib.Path(root).expanduser()
        if not self.root.exists():
            raise UserError(
                f"data.source={str(root)!r}: there is no such folder. Give {kind.sources}"
            )
        if not self.root.is_dir():
            raise UserError(
                f"data.source={str(root)!r} is a file, not a folder; give the folder that holds it"
            )
        sizes, others = _list_files(self.root, kind.suffixes)
        self.names = sorted(sizes)  # relative paths with forward slashes
        if not self.names:
            raise UserError(_none_found(self.root, kind, others))
        self.fingerprint = fingerprint_of(("folder", *((n, sizes[n]) for n in self.names)))
        self.class_names: tuple[str, ...] | None = None
        self._labels: np.ndarray | None = None
        if all("/" in name for name in self.names):
            self._set_classes([name.split("/", 1)[0] for name in self.names])

    def _set_classes(self, class_n: Sequence[str]) -> None:
        """`class_n`: that of each record, by name."""
        self.class_names, self._labels = numbered(class_n)

    def __len__(self) -> int:
        return len(self.names)

    def name(self, index: int) -> str:
        """That of record `index`, without reading the file."""
        return self.names[index]

    def label(self, index: int) -> int | None:
        """The class of record `index`, without reading the file."""
        return None if self._labels is None else int(self._labels[index])

    def read(self, index: int) -> Record:
        name = self.names[index]
        return Record(file_bytes(self.root, name), self.label(index), name)


def file_bytes(root: pathlib.Path, name: str) -> bytes:
    """Contents of the file `name` below `root`; `BadRecord` where it cannot be read."""
    try:
        return (root / name).read_bytes()
    except (OSError, ValueError) as error:  # the latter for a name that no file can have
        raise BadRecord(getattr(error, "strerror", None) or str(error), name) from error


def numbered(class_n: Sequence[str]) -> tuple[tuple[str, ...], np.ndarray]:
    """The names in use, in order, and the number int32 [n] of each record's."""
    names = tuple(sorted(set(class_n)))
    number = {name: label for label, name in enumerate(names)}
    return names, np.array([number[name] for name in class_n], np.int32)


def _none_found(root: pathlib.Path, kind: Kind, others: list[str]) -> str:
    text = (
        f"data.source={str(root)!r}: no {kind.noun} in this folder or below it; files ending "
        f"in {', '.join(kind.suffixes)} count (any case, hidden files do not)"
    )
    if kind.shards and any(".array_record" in other for other in others):
        return f"{text}. It holds ArrayRecord files: give {root}/*.array_record*"
    if others:
        return f"{text}. It holds other files, such as {others[0]!r}"
    return text


def _list_files(root: pathlib.Path, suffixes: tuple[str, ...]) -> tuple[dict[str, int], list[str]]:
    """Sizes in bytes by relative path, and a few names of files that do not count."""
    sizes: dict[str, int] = {}
    others: list[str] = []
    visited = {os.path.realpath(root)}  # symbolic links may form a loop
    pending = [(str(root), "")]
    while pending:
        folder, prefix = pending.pop()
        try:
            with os.scandir(folder) as scan:
                entries = list(scan)
        except OSError as error:
            raise UserError(f"cannot list the folder {folder}: {error.strerror}") from error
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                if entry.is_symlink():
                    real = os.path.realpath(entry.path)
                    if real in visited:
                        continue
                    visited.add(real)
                pending.append((entry.path, f"{prefix}{entry.name}/"))
            elif entry.name.lower().endswith(suffixes):
                # A dangling link counts as a file of size 0: reading it reports the fault.
                sizes[prefix + entry.name] = entry.stat().st_size if entry.is_file() else 0
            elif len(others) < 10:
                others.append(prefix + entry.name)
    return sizes, others
