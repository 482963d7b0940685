"""Long recordings, of which a minute is held at a time.

A block is `SECONDS` whole seconds, so it begins at a whole sample at every rate. It is decoded and
resampled with a margin on both sides; what is cut from it does not depend on what is read else.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np
import soundfile
import soxr

from d2v_jax.data.audio.sound_files import RATE, RATES, Stored, is_exact, length_known, opened
from d2v_jax.data.records import BadRecord

SECONDS = 64
BLOCK = SECONDS * RATE  # samples at 16 kHz
MARGIN = 1  # seconds: more than what resampling sees, and what decoders remember
FEW = 8  # channels; numpy adds up more of them in another order


@dataclasses.dataclass(frozen=True)
class Blocks:
    """A recording of `frames` samples per channel, `rate` a second; in blocks of `dtype`."""

    sound: Stored
    rate: int
    frames: int
    dtype: type[np.int16] | type[np.float32]

    def __len__(self) -> int:
        """Samples at 16 kHz."""
        return self._resampled(self.frames)

    def __iter__(self) -> Iterator[np.ndarray]:
        return map(self._block, range(-(-len(self) // BLOCK)))

    def read(self, first: int, samples: int) -> np.ndarray:
        """As many `samples` from `first` on, or up to the end."""
        last = min(first + samples, len(self))
        numbers = range(first // BLOCK, -(-last // BLOCK))
        found = np.concatenate([self._block(number) for number in numbers])
        return found[first - numbers[0] * BLOCK :][: last - first]

    def _block(self, number: int) -> np.ndarray:
        # A file of its own: what decoders of mp3 and opus give depends on what they gave before.
        seconds = number * SECONDS
        first = max(seconds - MARGIN, 0) * self.rate
        last = min((seconds + SECONDS) * self.rate, self.frames)
        after = min(last + MARGIN * self.rate, self.frames)
        with opened(self.sound) as file:
            file.seek(first)
            piece = file.read(after - first, self.dtype.__name__)
        if len(piece) < after - first:
            raise BadRecord(f"truncated: {first + len(piece)} of {self.frames} samples")
        wave_s = checked(_mono(piece))
        if self.rate != RATE:
            wave_s = soxr.resample(wave_s, self.rate, RATE)
        before = number * BLOCK - first // self.rate * RATE
        return wave_s[before : before + self._resampled(last) - number * BLOCK]

    def _resampled(self, frames: int) -> int:
        return (frames * RATE + self.rate // 2) // self.rate  # as soxr rounds


def wave_of(sound: Stored | np.ndarray) -> np.ndarray | Blocks:
    """The wave at 16 kHz mono, int16 [s] where it is stored so, else float32 [s].

    Blocks where it is longer than one. Raises `BadRecord` for what is no sound, is empty, or holds
    NaN or infinity.
    """
    if isinstance(sound, np.ndarray):
        return checked(sound)
    with opened(sound) as file:
        rate, frames = file.samplerate, file.frames
        if not RATES[0] <= rate <= RATES[1]:
            raise BadRecord(f"a sample rate of {rate} Hz")
        dtype = np.int16 if is_exact(file) else np.float32
        if not length_known(frames):
            file.seekable = lambda: False  # or reading would seek to that length's end
        elif frames > SECONDS * rate and file.seekable():
            return Blocks(sound, rate, frames, dtype)
        return _whole(file, dtype)


def _whole(file: soundfile.SoundFile, dtype: type[np.int16] | type[np.float32]) -> np.ndarray:
    rate, promised = file.samplerate, file.frames
    # Piece by piece the same as the whole, bit for bit, and only what comes out is kept.
    resampler = None if rate == RATE else soxr.ResampleStream(rate, RATE, 1, "float32")
    pieces, read, finite = [], 0, True
    while len(piece := file.read(BLOCK, dtype.__name__)):
        read += len(piece)
        piece_s = _mono(piece)
        finite = finite and bool(np.isfinite(piece_s).all())
        if finite:
            pieces.append(resampler.resample_chunk(piece_s) if resampler else piece_s)
    if length_known(promised) and read < promised:
        raise BadRecord(f"truncated: {read} of {promised} samples")
    if not finite:
        raise BadRecord("holds NaN or infinity")
    if resampler and read:
        pieces.append(resampler.resample_chunk(np.zeros(0, np.float32), last=True))
    return checked(np.concatenate(pieces) if pieces else np.zeros(0, dtype))


def checked(wave_s: np.ndarray) -> np.ndarray:
    """`wave_s`, neither empty nor with NaN or infinity."""
    if not len(wave_s):
        raise BadRecord("holds no samples")
    if wave_s.dtype.kind == "f" and not np.isfinite(wave_s).all():
        raise BadRecord("holds NaN or infinity")
    return wave_s


def _mono(piece: np.ndarray) -> np.ndarray:
    if piece.ndim == 1:
        return piece
    channels = piece.shape[1]
    if channels >= FEW:
        return piece.mean(axis=1)
    total_s = piece[:, 0].copy()  # ten times as fast as numpy's mean, and the same
    with np.errstate(over="ignore", invalid="ignore"):  # `checked` names it
        for channel in range(1, channels):
            total_s += piece[:, channel]
    return total_s / np.float32(channels)
