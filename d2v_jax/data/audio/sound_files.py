"""Sound files as they lie there: opened, and what their headers say."""

import contextlib
import io
import mmap
import pathlib
from collections.abc import Iterator
from typing import Any

import soundfile

from d2v_jax.data.audio import riff
from d2v_jax.data.records import BadRecord
from d2v_jax.data.stores.folder import open_regular

RATE = 16_000  # samples per second, of everything behind these files
RATES = (1_000, 1_000_000)  # declared rates outside these are damage

LARGE = 1 << 23  # bytes of a file above which it is read where it lies
Stored = bytes | pathlib.Path  # a sound file's bytes, or where it is


@contextlib.contextmanager
def opened(data: Stored) -> Iterator[soundfile.SoundFile]:
    """A sound file, of which no more is read than asked for.

    Whatever goes wrong with it inside the block is a `BadRecord`.
    """
    try:
        with _readable(data) as readable, soundfile.SoundFile(readable, closefd=False) as file:
            yield file
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
    with open_regular(data) as file:
        if not file.seek(0, io.SEEK_END):
            raise BadRecord("the file is empty")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
            found = riff.look(view)
        file.seek(0)
        yield file.fileno() if found is None else riff.Mended(file, found)


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
