"""Lists of parts of recordings by their times: Kaldi's `segments` (beside `wav.scp`) and STM files.

Kaldi: UTTERANCE RECORDING FIRST LAST, seconds; `text` and `utt2spk` beside it are read. STM (NIST):
RECORDING CHANNEL SPEAKER FIRST LAST [<LABEL>] WORDS, the recordings in the folder of the list.
"""

import os
import pathlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from d2v_jax.common.checks import UserError
from d2v_jax.common.names import writable
from d2v_jax.data.audio import cuts
from d2v_jax.data.audio.sound_files import RATE, RATES, header
from d2v_jax.data.records import BadRecord, Record, fingerprint_of
from d2v_jax.data.stores.folder import numbered

STM = ".stm"
KALDI = "segments"
SUFFIXES = (".wav", ".flac", ".ogg", ".sph")  # of recordings that an STM file names without one


class Row(NamedTuple):
    name: str
    path: pathlib.Path
    first: float  # seconds
    last: float
    speaker: str | None
    text: str | None


def looks_listed(source: str) -> bool:
    """Whether `source` is called as such a list is."""
    path = pathlib.PurePath(source)
    return path.suffix.lower() == STM or path.name == KALDI


class Segments:
    """The parts that one list names, in its order; classes are the speakers where all have one."""

    def __init__(self, source: str | os.PathLike):
        """Raises `UserError`, with file and line, for what is no such list."""
        path = pathlib.Path(source).expanduser()
        rows = _of_stm(path) if path.suffix.lower() == STM else _of_kaldi(path)
        if not rows:
            raise UserError(f"{path} lists no parts of recordings")
        self.names = [row.name for row in rows]
        rate_of: dict[pathlib.Path, int] = {}
        self._cuts, self._texts = [], [row.text for row in rows]
        lengths = []
        for row in rows:
            if row.path not in rate_of:
                rate_of[row.path] = _rate(row.path)
            rate = rate_of[row.path]
            first, last = round(row.first * rate), round(row.last * rate)
            self._cuts.append(cuts.Cut(str(row.path), first, last - first))
            lengths.append((last - first) * RATE // rate)
        self.lengths = np.array(lengths, np.int64)
        self.class_names: tuple[str, ...] | None = None
        self._labels: np.ndarray | None = None
        if all(row.speaker for row in rows):
            self.class_names, self._labels = numbered([str(row.speaker) for row in rows])
        self.fingerprint = fingerprint_of(
            ("segments", *((row.name, row.first, row.last) for row in rows))
        )

    def __len__(self) -> int:
        return len(self.names)

    def name(self, index: int) -> str:
        """That of the part, without reading it."""
        return self.names[index]

    def text(self, index: int) -> str | None:
        """The transcript of the part."""
        return self._texts[index]

    def label(self, index: int) -> int | None:
        """The speaker of the part, without reading it."""
        return None if self._labels is None else int(self._labels[index])

    def read(self, index: int) -> Record:
        name = self.names[index]
        data = cuts.read(pathlib.Path(), self._cuts[index], name)
        return Record(data, self.label(index), name, self._texts[index])


def _rate(path: pathlib.Path) -> int:
    try:
        _, rate = header(path)
    except BadRecord:
        return RATE  # reading it says what is wrong
    return rate if RATES[0] <= rate <= RATES[1] else RATE


def _of_kaldi(path: pathlib.Path) -> list[Row]:
    recordings = _table(path.parent / "wav.scp", "RECORDING PATH")
    for number, found in recordings.values():
        if found.endswith("|"):
            raise UserError(
                f"{path.parent / 'wav.scp'} line {number}: {found[:80]!r} is a command, and "
                "commands are not run; write its output into a file, and the file's path here"
            )
    beside = [path.parent / name for name in ("text", "utt2spk")]
    texts, speakers = (_table(one, "UTTERANCE ...") if one.is_file() else {} for one in beside)

    def row(words: list[str]) -> Row:
        utterance, recording, first, last = words
        if recording not in recordings:
            raise ValueError(f"recording {recording!r} is not in wav.scp")
        at = path.parent / pathlib.Path(recordings[recording][1]).expanduser()
        text, speaker = texts.get(utterance), speakers.get(utterance)
        speaker = speaker and writable(speaker[1])
        said = text and _said(text[1])
        return Row(writable(utterance), at, float(first), float(last), speaker, said)

    return _rows(path, 3, "UTTERANCE RECORDING FIRST LAST", row)


def _of_stm(path: pathlib.Path) -> list[Row]:
    def row(words: list[str]) -> Row:
        recording, channel, speaker, first, last, *rest = words
        text = rest[0] if rest else ""
        if text.startswith("<"):
            text = text.partition(">")[2].strip()
        name = writable(f"{recording}:{channel}:{first}-{last}")
        at = _beside(path, recording)
        return Row(name, at, float(first), float(last), writable(speaker), _said(text))

    return _rows(path, 5, "RECORDING CHANNEL SPEAKER FIRST LAST WORDS", row)


def _said(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"what is said is not UTF-8: {writable(text)[:80]}") from None
    return text


def _beside(path: pathlib.Path, recording: str) -> pathlib.Path:
    at = path.parent / recording
    named = (at.with_name(at.name + suffix) for suffix in SUFFIXES)
    return at if at.is_file() else next((one for one in named if one.is_file()), at)


def _rows(path: pathlib.Path, splits: int, form: str, row: Callable[[list[str]], Row]) -> list[Row]:
    rows = []
    for number, line in enumerate(_lines(path), 1):
        if not line.strip() or line.startswith(";;"):
            continue
        try:
            rows.append(row(line.strip().split(maxsplit=splits)))
            if not 0 <= rows[-1].first < rows[-1].last < 1e9:
                raise ValueError("its times do not follow each other")
        except ValueError as error:
            raise UserError(
                f"{path} line {number}: {line[:80]!r} is not {form}, times in seconds ({error})"
            ) from None
    return rows


def _table(path: pathlib.Path, form: str) -> dict[str, tuple[int, str]]:
    """Line number and what follows the first word, by that word."""
    found = {}
    for number, line in enumerate(_lines(path), 1):
        words = line.strip().split(maxsplit=1)
        if len(words) == 1:
            words.append("")
        if words:
            found[words[0]] = number, words[1]
    if not found:
        raise UserError(f"{path} is empty; its lines are {form}")
    return found


def _lines(path: pathlib.Path) -> list[str]:
    try:
        data = path.read_bytes()
        # The name of a recording may be of any bytes; `_said` looks at what is text.
        text = data.decode("utf-8-sig", "strict" if b"\0" in data else "surrogateescape")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as UTF-8 text ({error})") from None
    return text.split("\n")
