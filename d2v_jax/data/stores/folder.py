"""A folder of files of one kind, nested as deep as it likes."""

import collections
import dataclasses
import errno
import io
import logging
import os
import pathlib
import stat
from collections.abc import Mapping, Sequence

import numpy as np

from d2v_jax.common.checks import UserError
from d2v_jax.common.names import place, writable
from d2v_jax.data.records import BadRecord, Record, fingerprint_of

log = logging.getLogger("d2v")

SHOWN = 12  # suffixes of files that are passed over
SPECIAL = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


@dataclasses.dataclass(frozen=True)
class Kind:
    """Which files count, what one is called, and what `data.source` may be for this modality.

    `second`: suffixes that count in a folder only where none of `suffixes` is; they may as well
    be lists beside the data. `unread`: of the same kind, but nothing here reads them, with the
    remedy. `shards`: whether a source may be ArrayRecord files too. `held`: bytes of the largest
    file that is handed over as bytes; of larger ones the path is.
    """

    noun: str
    suffixes: tuple[str, ...]
    sources: str
    shards: bool = False
    second: tuple[str, ...] = ()
    unread: Mapping[str, str] = dataclasses.field(default_factory=dict)
    held: int | None = None


@dataclasses.dataclass
class Listing:
    """Of the files below a folder: sizes in bytes by relative path, and what is no file.

    `left_out` are reasons by writable name.
    """

    sizes: dict[str, int] = dataclasses.field(default_factory=dict)
    left_out: dict[str, str] = dataclasses.field(default_factory=dict)


class Folder:
    """The files of one kind under `root`, in the order of their relative paths.

    When every file lies in a sub-folder, the first component of its path is its class.

    Attributes:
        paths: of the files, relative, with forward slashes.
        names: the same as they can be written.
        faults: reasons by name, of folders that cannot be listed and of what is no file.
        passed_over: how many files of other suffixes there are.
    """

    def __init__(self, root: str | os.PathLike, kind: Kind):
        """Lists the files. Raises `UserError` for a missing folder or one without any."""
        self.root = place(root)
        if not self.root.exists():
            raise UserError(
                f"data.source={_quoted(root)}: there is no such folder. Give {kind.sources}"
            )
        if not self.root.is_dir():
            raise UserError(
                f"data.source={_quoted(root)} is a file, not a folder; give the folder that "
                "holds it"
            )
        self._held = kind.held
        found = listed(self.root)
        sizes, others = _chosen(found.sizes, kind)
        self.faults = found.left_out
        self.passed_over = collections.Counter(_suffix(name) for name in others)
        self.paths = sorted(sizes)
        self.names = [writable(path) for path in self.paths]
        if not self.paths:
            raise UserError(_none_found(self.root, kind, sorted(map(writable, others)), found))
        _tell(self.root, kind, self.passed_over, found.left_out)
        self.fingerprint = fingerprint_of(("folder", *((n, sizes[n]) for n in self.paths)))
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
        data = file_data(self.root, self.paths[index], self._held)
        return Record(data, self.label(index), self.names[index])


def file_data(root: pathlib.Path, name: str, held: int | None = None) -> bytes | pathlib.Path:
    """Contents of the file `name` below `root`, or its path where it has more bytes than `held`.

    Raises `BadRecord` where it cannot be read.
    """
    try:
        with open_regular(root / name) as file:
            if held is not None and os.fstat(file.fileno()).st_size > held:
                return root / name
            return file.readall()
    except (OSError, ValueError) as error:  # the latter for a name that no file can have
        why = getattr(error, "strerror", None) or str(error)
        raise BadRecord(why, writable(name)) from error


def open_regular(path: pathlib.Path) -> io.FileIO:
    """A file to read from. Raises `OSError` for a pipe or device, whose other end nobody may be."""
    number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    mode = os.fstat(number).st_mode
    if not stat.S_ISREG(mode):
        os.close(number)
        raise OSError(errno.EINVAL, f"it is {special(mode)}")
    return io.FileIO(number, "rb")


def special(mode: int) -> str:
    """What a file of that mode is called."""
    if stat.S_ISDIR(mode):
        return "a folder"
    return next((what for test, what in SPECIAL if test(mode)), "not a regular file")


def numbered(class_n: Sequence[str]) -> tuple[tuple[str, ...], np.ndarray]:
    """The names in use, in order, and the number int32 [n] of each record's."""
    names = tuple(sorted(set(class_n)))
    number = {name: label for label, name in enumerate(names)}
    return names, np.array([number[name] for name in class_n], np.int32)


def passed_over(counts: Mapping[str, int]) -> str:
    """ "9 .mp3, 2 .txt": the most frequent first."""
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    shown = [f"{count:,} {suffix}" for suffix, count in ranked[:SHOWN]]
    rest = sum(count for _, count in ranked[SHOWN:])
    return ", ".join([*shown, f"{rest:,} others"] if rest else shown)


def _quoted(root: str | os.PathLike) -> str:
    return repr(writable(str(root)))


def _chosen(sizes: dict[str, int], kind: Kind) -> tuple[dict[str, int], list[str]]:
    """The files of the kind, and the names of the others."""
    for suffixes in (kind.suffixes, kind.second):
        found = {path: size for path, size in sizes.items() if path.lower().endswith(suffixes)}
        if found:
            break
    return found, [path for path in sizes if path not in found]


def _suffix(path: str) -> str:
    """ ".json.gz" of "x/c4.00001.json.gz"."""
    name = writable(path.rsplit("/", 1)[-1]).lower()
    stem, dot, last = name.rpartition(".")
    if not (dot and stem):
        return "without a suffix"
    if last in ("gz", "bz2", "xz", "zst"):
        before = stem.rpartition(".")
        return f".{before[2]}.{last}" if before[0] else f".{last}"
    return f".{last}"


def _tell(
    root: pathlib.Path, kind: Kind, counts: Mapping[str, int], left_out: Mapping[str, str]
) -> None:
    if counts:
        own = [suffix for suffix in sorted(counts) if suffix in kind.unread]
        remedies = dict.fromkeys(kind.unread[suffix] for suffix in own)
        log.log(
            logging.WARNING if own else logging.INFO,
            "%s: passed over %s%s",
            writable(str(root)),
            passed_over(counts),
            f". To use {', '.join(own)}: {'; '.join(remedies)}" if own else "",
        )
    if left_out:
        name, reason = next(iter(left_out.items()))
        log.warning(
            "%s: left out %d that are no files or cannot be listed, such as %s: %s",
            writable(str(root)),
            len(left_out),
            name,
            reason,
        )


def _none_found(root: pathlib.Path, kind: Kind, others: list[str], found: Listing) -> str:
    own = writable(str(root))
    text = (
        f"data.source={own!r}: no {kind.noun} in this folder or below it; files ending "
        f"in {', '.join((*kind.suffixes, *kind.second))} count (any case, hidden files do not)"
    )
    if kind.shards and any(".array_record" in other for other in others):
        return f"{text}. It holds ArrayRecord files: give {own}/*.array_record*"
    if others:
        counts = collections.Counter(map(_suffix, others))
        text = f"{text}. It holds other files, such as {others[0]!r} ({passed_over(counts)})"
        for suffix in sorted(set(counts) & set(kind.unread)):
            text += f". To use {suffix}: {kind.unread[suffix]}"
    for name, reason in list(found.left_out.items())[:1]:
        text += f". Left out: {name} ({reason})"
    return text


def listed(root: pathlib.Path) -> Listing:
    """All files below `root` but hidden ones; links are followed, each folder is seen once.

    Nothing is opened that is not a regular file. Raises `UserError` where `root` itself cannot
    be listed.
    """
    found = Listing()
    visited = {os.path.realpath(root)}  # symbolic links may form a loop
    pending = [(str(root), "")]
    while pending:
        folder, prefix = pending.pop()
        try:
            with os.scandir(folder) as scan:
                entries = list(scan)
        except OSError as error:
            if not prefix:
                raise UserError(
                    f"cannot list the folder {writable(folder)}: {error.strerror}"
                ) from error
            found.left_out[writable(prefix)] = f"cannot be listed: {error.strerror}"
            continue
        for entry in entries:
            if entry.name.startswith("."):
                continue
            path = prefix + entry.name
            try:
                about = entry.stat()
            except OSError as error:  # a broken link, a loop of links
                what = "a link that leads nowhere" if entry.is_symlink() else "not accessible"
                found.left_out[writable(path)] = f"{what}: {error.strerror}"
                continue
            if stat.S_ISDIR(about.st_mode):
                if entry.is_symlink():
                    real = os.path.realpath(entry.path)
                    if real in visited:
                        continue
                    visited.add(real)
                pending.append((entry.path, f"{path}/"))
            elif stat.S_ISREG(about.st_mode):
                found.sizes[path] = about.st_size
            else:
                found.left_out[writable(path)] = special(about.st_mode)
    return found
