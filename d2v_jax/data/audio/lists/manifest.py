"""fairseq's manifests: a .tsv file that lists recordings, and labels beside it.

The first line is the root folder; each other one a path below it, a tab, and the number of samples
of that file, or of that part of one (`cuts`). Labels are a file of the same name with another
suffix, one line per recording.
"""

import logging
import os
import pathlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from d2v_jax.common.checks import UserError
from d2v_jax.common.names import writable
from d2v_jax.data.audio import alignments, cuts
from d2v_jax.data.audio.lists import librispeech
from d2v_jax.data.audio.sound_files import RATE, RATES, header
from d2v_jax.data.progress import logged
from d2v_jax.data.records import BadRecord, Record, fingerprint_of
from d2v_jax.data.stores.folder import numbered

log = logging.getLogger("d2v")

SUFFIX = ".tsv"
LABELS = (".wrd", ".txt", ".ltr", ".phn")  # words, text, letters, phones; the first that exists
LETTERS = ".ltr"
HEADER_THREADS = 8
PROBED = 20  # files, of which one must be there


class Manifest:
    """The recordings of one manifest, in its order.

    `Record.text` is the line of the labels. The class is the speaker where files are named as in
    LibriSpeech, else the first folder of the path where all have one. A file whose length is
    not the listed one cannot be read.
    """

    def __init__(self, path: str | os.PathLike):
        """Raises `UserError`, with file, line and remedy, for whatever the manifest gets wrong."""
        self.path = pathlib.Path(path).expanduser()
        if not self.path.is_file():
            raise UserError(
                f"data.source={str(path)!r}: there is no such manifest. Give the .tsv file whose "
                "first line is the root folder and whose others are PATH<tab>SAMPLES"
            )
        lines = _lines(self.path, "surrogateescape")  # a name may be of any bytes
        while lines and not lines[-1].strip():
            lines.pop()
        self.paths, self._frames = _rows(self.path, lines)
        self.names = [writable(path) for path in self.paths]
        self.root = _root(self.path, lines[0], self.paths)
        self._cuts = [cuts.named(self.root, path) for path in self.paths]
        with ThreadPoolExecutor(HEADER_THREADS) as pool:
            rates = pool.map(self._rate, self._cuts)
            rates = logged(rates, f"reading headers of {self.path}", len(self._cuts))
            rate_n = np.fromiter(rates, np.int64, len(self._cuts))
        self.lengths = self._frames * RATE // rate_n
        self._texts = _labels(self.path, len(self.names))
        self.class_names: tuple[str, ...] | None = None
        self._labels: np.ndarray | None = None
        class_n = librispeech.speakers(self.names)
        if class_n is None and all("/" in name for name in self.names):
            class_n = [name.split("/", 1)[0] for name in self.names]
        if class_n is not None:
            self.class_names, self._labels = numbered(class_n)
        self.fingerprint = fingerprint_of(("manifest", *zip(self.paths, self._frames.tolist())))

    def __len__(self) -> int:
        return len(self.names)

    def name(self, index: int) -> str:
        """That of record `index`, without reading the file."""
        return self.names[index]

    def text(self, index: int) -> str | None:
        """The transcript of record `index`."""
        return None if self._texts is None else self._texts[index]

    def label(self, index: int) -> int | None:
        """The class of record `index`, without reading the file."""
        return None if self._labels is None else int(self._labels[index])

    def read(self, index: int) -> Record:
        name = self.names[index]
        data = cuts.read(self.root, self._cuts[index], name)
        frames, _ = header(data)
        if frames is not None and frames != self._frames[index]:
            raise BadRecord(
                f"{frames} samples, but {self.path.name} lists {self._frames[index]}", name
            )
        return Record(data, self.label(index), name, self.text(index))

    def said(self, index: int) -> dict[str, list[alignments.Span]]:
        """Of the files beside it the words and phones."""
        return {} if self._cuts[index].length else alignments.beside(self.root / self.paths[index])

    def _rate(self, cut: cuts.Cut) -> int:
        """Samples per second of a file, 16 kHz where it does not say so: reading reports that."""
        try:
            _, rate = cuts.frames_of(self.root, cut)
        except BadRecord:
            return RATE
        return rate if RATES[0] <= rate <= RATES[1] else RATE


def names_in(path: pathlib.Path) -> list[str]:
    """What the recordings of a manifest are called, without looking for them."""
    if not path.is_file():
        raise UserError(f"there is no manifest {str(path)!r}")
    lines = _lines(path, "surrogateescape")
    while lines and not lines[-1].strip():
        lines.pop()
    return [writable(name) for name in _rows(path, lines)[0]]


def _lines(path: pathlib.Path, errors: str = "strict") -> list[str]:
    try:
        data = path.read_bytes()
        text = data.decode("utf-8", "strict" if b"\0" in data else errors)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; check its permissions") from error
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8"
        ) from error
    lines = text.removeprefix("\ufeff").split("\n")  # other breaks may be part of a name
    lines = [line.removesuffix("\r") for line in lines]
    return lines if lines[-1] else lines[:-1]


def _rows(path: pathlib.Path, lines: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """Relative paths, and lengths int64 [n] in the files' own samples."""
    if not lines:
        raise UserError(f"{path} is empty; its first line must be the root folder of the files")
    if "\t" in lines[0]:
        raise UserError(
            f"{path} line 1: {lines[0]!r} has a tab, so it looks like a row; the first line must "
            "be the root folder alone. Put it in front"
        )
    if len(lines) == 1:
        raise UserError(f"{path} lists no files: only the root folder {lines[0]!r}")
    names, frames = [], []
    for number, line in enumerate(lines[1:], 2):
        columns = line.split("\t")
        if len(columns) != 2 or not columns[0].strip():
            raise UserError(
                f"{path} line {number}: {line[:120]!r} has {len(columns)} columns; each row is "
                "PATH<tab>SAMPLES"
            )
        if not columns[1].strip().isdecimal() or not 0 < int(columns[1]) < 2**40:
            raise UserError(
                f"{path} line {number}: {columns[1][:40]!r} is not a number of samples; each row "
                "is PATH<tab>SAMPLES"
            )
        names.append(columns[0])
        frames.append(int(columns[1]))
    if len(set(names)) < len(names):
        seen: dict[str, int] = {}
        for number, name in enumerate(names, 2):
            if name in seen:
                raise UserError(
                    f"{path} line {number}: {name!r} is listed already in line {seen[name]}; "
                    "remove one of them"
                )
            seen[name] = number
    return names, np.array(frames, np.int64)


def _root(path: pathlib.Path, first: str, names: Sequence[str]) -> pathlib.Path:
    """Where the files are: the folder that the first line names, else that of the manifest."""
    root = pathlib.Path(first.strip()).expanduser()
    root = path.parent / root  # where that is absolute, it stays
    if any((root / cuts.named(root, name).name).exists() for name in names[:PROBED]):
        return root
    beside = path.parent
    if any((beside / cuts.named(beside, name).name).exists() for name in names[:PROBED]):
        log.warning("%s: no files in %s; they are read from %s", path, root, path.parent)
        return path.parent
    if root.is_dir():
        raise UserError(
            f"{path} line 2: there is no {names[0]!r} in the root folder {str(root)!r} of line 1, "
            f"nor any of the first {min(len(names), PROBED)} files. Correct line 1, or restore "
            "the files"
        )
    raise UserError(
        f"{path} line 1: the root folder {str(root)!r} does not exist, and the files are not "
        f"beside the manifest either. Write the folder that holds {names[0]!r} into line 1"
    )


def _labels(path: pathlib.Path, rows: int) -> list[str] | None:
    for suffix in LABELS:
        beside = path.with_suffix(suffix)
        if not beside.is_file():
            continue
        lines = _lines(beside)
        if len(lines) != rows:
            raise UserError(
                f"{beside} has {len(lines)} lines for the {rows} files of {path.name}; it needs "
                "one line for each, in the same order. Write it again, or move it away"
            )
        if suffix == LETTERS:  # "H E | I S |"
            lines = [line.replace(" ", "").replace("|", " ") for line in lines]
        return [line.strip() for line in lines]
    return None
