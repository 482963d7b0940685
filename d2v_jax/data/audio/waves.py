"""Sound: whatever people have becomes 16 kHz mono, standardised by the whole utterance."""

import contextlib
import io
import mmap
import os
import pathlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import soundfile
import soxr

from d2v_jax.data.audio import riff
from d2v_jax.data.records import BadRecord, Example, Record

RATE = 16_000  # samples per second, of everything behind this file
RATES = (1_000, 1_000_000)  # declared rates outside these are damage
EPS = 1e-5  # added to the variance (REFERENCE §5.7)
FULL = 32_768  # int16 of a full-scale wave
PIECE = 1 << 20  # samples read at once
LONG = 1 << 23  # samples at 16 kHz, nearly nine minutes


class Utterance(NamedTuple):
    """A whole recording, int16 [s] at 16 kHz mono.

    (samples - offset) * scale has mean 0, and variance 1 but for `EPS`.
    """

    samples: np.ndarray
    offset: np.float32
    scale: np.float32


def decode(sound: bytes | np.ndarray) -> np.ndarray:
    """Returns the wave at 16 kHz mono: int16 [s] where it is stored so, else float32 [s].

    `sound` is a file's bytes, or int16 or float32 samples [s] at 16 kHz. Float waves of full
    scale lie in [-1, 1). Channels are averaged. Raises `BadRecord` for anything that is no
    sound, is empty, or holds NaN or infinity.
    """
    wave_s = _read(sound) if isinstance(sound, bytes) else sound
    if not len(wave_s):
        raise BadRecord("holds no samples")
    if wave_s.dtype != np.int16 and not np.isfinite(wave_s).all():
        raise BadRecord("holds NaN or infinity")
    return wave_s


def _read(data: bytes) -> np.ndarray:
    with opened(data) as file:
        rate, promised = file.samplerate, file.frames
        if not RATES[0] <= rate <= RATES[1]:
            raise BadRecord(f"a sample rate of {rate} Hz")
        exact = _is_exact(file)
        if not length_known(promised):
            file.seekable = lambda: False  # or reading would seek to that length's end
        # Piece by piece the same as the whole, bit for bit, and only what comes out is kept.
        resampler = None if rate == RATE else soxr.ResampleStream(rate, RATE, 1, "float32")
        pieces, read, finite = [], 0, True
        while len(piece := file.read(PIECE, "int16" if exact else "float32")):
            read += len(piece)
            piece_s = piece.mean(axis=1) if piece.ndim == 2 else piece
            finite = finite and (exact or bool(np.isfinite(piece_s).all()))
            if finite:
                pieces.append(resampler.resample_chunk(piece_s) if resampler else piece_s)
    if length_known(promised) and read < promised:
        raise BadRecord(f"truncated: {read} of {promised} samples")
    if not finite:
        raise BadRecord("holds NaN or infinity")
    if resampler and read:
        pieces.append(resampler.resample_chunk(np.zeros(0, np.float32), last=True))
    return np.concatenate(pieces) if pieces else np.zeros(0, np.int16)


def header(data: bytes) -> tuple[int | None, int]:
    """Samples per channel, None where that is left open, and per second, of a sound file.

    Raises `BadRecord` for anything else.
    """
    with opened(data) as file:
        return file.frames if length_known(file.frames) else None, file.samplerate


def stored_as(data: bytes) -> tuple[int, int, str]:
    """Samples per second, channels and format ("WAV PCM_16") of a sound file."""
    with opened(data) as file:
        return file.samplerate, file.channels, f"{file.format} {file.subtype}"


def header_of(path: str | os.PathLike) -> tuple[int | None, int]:
    """`header` of the file at `path`, of which little is read."""
    with open(path, "rb") as file:
        if file.read(4) in riff.BEGINNINGS:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                found = riff.look(data)
            if found is not None:
                return found.frames, found.rate
        try:
            info = soundfile.info(os.fsencode(path))
        except soundfile.SoundFileError as error:
            raise BadRecord(f"not a readable sound file: {_reason(error)}") from error
    return info.frames if length_known(info.frames) else None, info.samplerate


@contextlib.contextmanager
def opened_at(path: pathlib.Path) -> Iterator[soundfile.SoundFile]:
    """`opened` of a file, of which no more is read than asked for where its header is right."""
    with open(path, "rb") as file:
        found = None
        if file.read(4) in riff.BEGINNINGS:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                found = riff.look(data)
    with opened(path.read_bytes() if found else path) as sound:
        yield sound


@contextlib.contextmanager
def opened(data: bytes | pathlib.Path) -> Iterator[soundfile.SoundFile]:
    """Of a sound file's bytes. Whatever goes wrong with them inside the block is a `BadRecord`."""
    if not data:
        raise BadRecord("the file is empty")
    try:
        with soundfile.SoundFile(_readable(data)) as file:
            yield file
    except (soundfile.SoundFileError, RuntimeError, ValueError, MemoryError) as error:
        raise BadRecord(f"not a readable sound file: {_reason(error)}") from error


def _readable(data: bytes | pathlib.Path) -> io.BytesIO | bytes:
    return io.BytesIO(riff.mended(data)) if isinstance(data, bytes) else os.fsencode(data)


def _is_exact(file: soundfile.SoundFile) -> bool:
    """Whether its samples are used as they are stored."""
    return (file.subtype, file.channels, file.samplerate) == ("PCM_16", 1, RATE)


def length_known(frames: int) -> bool:
    """Whether a header says how long the file is: streams may leave that open."""
    return 0 < frames < 2**40


def _reason(error: Exception) -> str:
    text = getattr(error, "error_string", None) or str(error)
    return text.strip().rstrip(".")[:120] or type(error).__name__


def standardise(wave_s: np.ndarray, most: int | None = None) -> np.ndarray:
    """float32 [s] of mean 0 and variance 1: (w - mean) / sqrt(var + 1e-5) (REFERENCE §5.7).

    Of the whole; the first `most` samples of that are returned.
    """
    mean, variance = _moments(wave_s)
    scaled_s = _unit(wave_s[:most])
    return ((scaled_s - mean) / np.sqrt(variance + EPS)).astype(np.float32)


def _moments(wave_s: np.ndarray) -> tuple[float, float]:
    """Mean and variance in double precision, of which no long recording needs a whole copy.

    Those of long ones are sums of pieces: 1e-15 beside numpy's.
    """
    if len(wave_s) <= LONG:
        wave_s = _unit(wave_s)
        return wave_s.mean(), wave_s.var()
    parts = [slice(first, first + PIECE) for first in range(0, len(wave_s), PIECE)]
    mean = sum(float(_unit(wave_s[part]).sum()) for part in parts) / len(wave_s)
    squares = (float(np.square(_unit(wave_s[part]) - mean).sum()) for part in parts)
    return mean, sum(squares) / len(wave_s)


def _unit(wave_s: np.ndarray) -> np.ndarray:
    """float64 [s]; full scale is 1."""
    return wave_s.astype(np.float64) / (FULL if wave_s.dtype == np.int16 else 1)


def utterance(wave_s: np.ndarray) -> Utterance:
    """`wave_s` as `decode` gives it, in 16 bits, with the numbers that standardise it.

    A float wave beyond full scale is not clipped: it is made to fit, and `scale` undoes that.
    """
    fit = 1.0
    if wave_s.dtype != np.int16:
        largest = max(float(wave_s.max()), -float(wave_s.min()))
        fit = min(1.0, (FULL - 1) / FULL / max(largest, 1e-30))
        stored_s = np.empty(len(wave_s), np.int16)
        for first in range(0, len(wave_s), PIECE):
            part = slice(first, first + PIECE)
            stored_s[part] = np.rint(wave_s[part].astype(np.float64) * (FULL * fit))
        wave_s = stored_s
    # Of these very samples, in double precision: sums of squares of int16 are large.
    if len(wave_s) <= LONG:
        mean, variance = wave_s.mean(dtype=np.float64), wave_s.var(dtype=np.float64)
    else:
        mean, variance = _moments(wave_s)
        mean, variance = mean * FULL, variance * FULL**2
    deviation = np.sqrt(variance + EPS * (FULL * fit) ** 2)
    return Utterance(wave_s, np.float32(mean), np.float32(1 / deviation))


def random_crop(record: Record, rng: np.random.Generator, samples: int) -> Example:
    """inputs int16 [s], s = `samples`, from anywhere in the recording; its offset and scale.

    Where `record.standard` is known, and the samples are used as they are stored, only those of
    the crop are decoded: the result is the same. Raises `BadRecord` where there are fewer samples,
    or no sound.
    """
    standard = record.standard
    if standard is not None and isinstance(record.data, bytes):
        inputs_s = _stored_crop(record.data, rng, samples)
        if inputs_s is not None:
            return {"inputs": inputs_s, "offset": standard[0], "scale": standard[1]}
    wave_s = decode(record.data)
    whole = utterance(wave_s)
    start = _start(len(whole.samples), rng, samples)
    if standard is None or wave_s.dtype != np.int16:
        standard = whole.offset, whole.scale
        if record.learn is not None:
            record.learn(*standard)
    inputs_s = whole.samples[start : start + samples]
    return {"inputs": inputs_s, "offset": standard[0], "scale": standard[1]}


def whole(record: Record, rng: np.random.Generator, samples: int) -> Example:
    """inputs int16 [s], s = `samples`, zero behind the recording's end; its "length".

    Raises `BadRecord` where it is longer, or no sound.
    """
    del rng
    wave_s = decode(record.data)
    if len(wave_s) > samples:
        raise BadRecord(f"{len(wave_s)} samples, more than its header promises")
    found = utterance(wave_s)
    inputs_s = np.zeros(samples, np.int16)
    inputs_s[: len(wave_s)] = found.samples
    return {
        "inputs": inputs_s,
        "offset": found.offset,
        "scale": found.scale,
        "length": np.int32(len(wave_s)),
    }


def _stored_crop(data: bytes, rng: np.random.Generator, samples: int) -> np.ndarray | None:
    """int16 [s] of a sound file; None, with nothing drawn, where only the whole gives it."""
    with opened(data) as file:
        if not (_is_exact(file) and length_known(file.frames) and file.seekable()):
            return None
        file.seek(_start(file.frames, rng, samples))
        inputs_s = file.read(samples, "int16")
    if len(inputs_s) < samples:
        raise BadRecord(f"truncated: {len(inputs_s)} of the {samples} samples of a crop")
    return inputs_s


def _start(have: int, rng: np.random.Generator, samples: int) -> int:
    if have < samples:
        raise BadRecord(f"{have} samples, fewer than its header promises")
    return int(rng.integers(have - samples + 1))
