"""Sound files and parts of them as they lie there: opened, and what their headers say."""

import contextlib
import dataclasses
import io
import mmap
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import soundfile

from d2v_jax.data.audio import riff
from d2v_jax.data.records import BadRecord
from d2v_jax.data.stores.folder import open_regular

RATE = 16_000  # samples per second, of everything behind these files
RATES = (1_000, 1_000_000)  # declared rates outside these are damage

LARGE = 1 << 23  # bytes of a file above which it is read where it lies
AT_ONCE = 1 << 20  # samples, or bytes


@dataclasses.dataclass(frozen=True)
class Part:
    """`length` samples of a sound file from `first` on; of an archive (`packed`) bytes, which are
    a sound file of their own.
    """

    path: pathlib.Path
    first: int
    length: int
    packed: bool = False

    @property
    def size(self) -> int:
        """Bytes, of samples their share of the file."""
        if self.packed:
            return self.length
        frames, _ = header(self.path)
        with _named_faults():
            whole = self.path.stat().st_size
        return round(whole * min(self.length / (frames or self.length), 1))

    def contents(self) -> Iterator[bytes]:
        """The sound file, or the samples as numbers."""
        if self.packed:
            with _named_faults(), _readable(self) as file:
                yield from iter(lambda: file.read(AT_ONCE), b"")
            return
        with opened(self) as file:
            yield b"%d" % file.samplerate
            while len(piece := file.read(AT_ONCE, "float64")):
                yield piece.tobytes()


Stored = bytes | pathlib.Path | Part  # a sound file's bytes, or where it is


@contextlib.contextmanager
def opened(data: Stored) -> Iterator[Any]:
    """A sound file (soundfile.SoundFile), of which no more is read than asked for.

    Whatever goes wrong with it inside the block is a `BadRecord`.
    """
    with (
        _named_faults(),
        _readable(data) as readable,
        soundfile.SoundFile(readable, closefd=False) as file,
    ):
        yield _Within(file, data) if isinstance(data, Part) and not data.packed else file


@contextlib.contextmanager
def _named_faults() -> Iterator[None]:
    """What goes wrong with a file is a `BadRecord`."""
    try:
        yield
    except (soundfile.SoundFileError, RuntimeError, ValueError, MemoryError) as error:
        raise BadRecord(f"not a readable sound file: {_reason(error)}") from error
    except OSError as error:
        raise BadRecord(error.strerror or str(error)) from error


@contextlib.contextmanager
def _readable(data: Stored) -> Iterator[Any]:
    """What soundfile opens, with a header that is right.

    Not the path itself: libsndfile takes what ends in .au or .snd for sound, whatever it holds.
    """
    if isinstance(data, bytes):
        if not data:
            raise BadRecord("the file is empty")
        found = riff.look(data)
        yield io.BytesIO(data if found is None else riff.mended(data, found))
        return
    part = data if isinstance(data, Part) and data.packed else None
    with open_regular(data.path if isinstance(data, Part) else data) as file:
        size = file.seek(0, io.SEEK_END)
        if not size:
            raise BadRecord("the file is empty")
        first, length = (part.first, part.length) if part else (0, size)
        if (missing := first + length - size) > 0:
            raise BadRecord(f"{part.path.name} ends {missing} bytes before the part does")
        # Closed when nobody looks at it any more.
        view = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        found = riff.look(view[first : first + length])
        del view
        file.seek(0)
        inside = Window(file, first, length) if part else file
        if found is not None:
            yield riff.Mended(inside, found)
        else:
            yield inside if part else file.fileno()


class Window(io.RawIOBase):
    """`length` bytes of an open file from `first` on."""

    def __init__(self, file: io.RawIOBase, first: int, length: int):
        self._file, self._first, self._length, self._at = file, first, length, 0

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = (0, self._at, self._length)[whence] + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: memoryview) -> int:
        self._file.seek(self._first + self._at)
        part = self._file.read(max(min(len(buffer), self._length - self._at), 0)) or b""
        buffer[: len(part)] = part
        self._at += len(part)
        return len(part)


class _Within:
    """A part of an open sound file, which is read as if it was a file of its own."""

    def __init__(self, file: soundfile.SoundFile, part: Part):
        missing = part.first + part.length - file.frames
        if length_known(file.frames) and missing > 0:
            missing = min(missing, part.length)
            raise BadRecord(f"{part.path.name} ends {missing} samples before the part does")
        self._file, self._first, self.frames = file, part.first, part.length
        self.seek(0)

    def __getattr__(self, name: str) -> Any:  # rate, channels, format: those of the file
        return getattr(self._file, name)

    def seek(self, frames: int) -> None:
        self._at = frames
        self._file.seek(self._first + frames)

    def read(self, frames: int, dtype: str) -> np.ndarray:
        piece = self._file.read(min(frames, self.frames - self._at), dtype)
        self._at += len(piece)
        return piece


def header(data: Stored) -> tuple[int | None, int]:
    """Samples per channel, None where that is left open, and per second, of a sound file.

    Raises `BadRecord` for anything else.
    """
    with opened(data) as file:
        return file.frames if length_known(file.frames) else None, file.samplerate


def stored_as(data: Stored) -> tuple[int, int, str]:
    """Samples per second, channels and format ("WAV PCM_16") of a sound file."""
    with opened(data) as file:
        return file.samplerate, file.channels, f"{file.format} {file.subtype}"


def is_exact(file: soundfile.SoundFile) -> bool:
    """Whether its samples are used as they are stored."""
    return (file.subtype, file.channels, file.samplerate) == ("PCM_16", 1, RATE)


def length_known(frames: int) -> bool:
    """Whether a header says how long the file is: streams may leave that open."""
    return 0 < frames < 2**40


def _reason(error: Exception) -> str:
    text = getattr(error, "error_string", None) or str(error)
    return text.strip().rstrip(".")[:120] or type(error).__name__
