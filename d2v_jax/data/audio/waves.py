"""Sound: whatever people have becomes 16 kHz mono, standardised by the whole utterance."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from d2v_jax.data.audio.blocks import BLOCK, Blocks, wave_of
from d2v_jax.data.audio.sound_files import Stored, is_exact, length_known, opened
from d2v_jax.data.records import BadRecord, Example, Record, Standard

EPS = 1e-5  # added to the variance (REFERENCE §5.7)
FULL = 32_768  # int16 of a full-scale wave
LONG = 1 << 23  # samples at 16 kHz, nearly nine minutes


class Utterance(NamedTuple):
    """A whole recording, int16 [s] at 16 kHz mono.

    (samples - offset) * scale has mean 0, and variance 1 but for `EPS`.
    """

    samples: np.ndarray
    offset: np.float32
    scale: np.float32


def decode(sound: Stored | np.ndarray) -> np.ndarray:
    """Returns the wave at 16 kHz mono: int16 [s] where it is stored so, else float32 [s].

    `sound` is a sound file, or int16 or float32 samples [s] at 16 kHz. Float waves of full
    scale lie in [-1, 1). Channels are averaged. Raises `BadRecord` for anything that is no
    sound, is empty, or holds NaN or infinity.
    """
    whole = wave_of(sound)
    return _part(whole, 0, len(whole))


def pieces(sound: Stored | np.ndarray) -> Iterator[np.ndarray]:
    """`decode`, in pieces of at most `BLOCK` samples, of which one is held at a time."""
    return _pieces(wave_of(sound))


def _pieces(whole: np.ndarray | Blocks) -> Iterator[np.ndarray]:
    if isinstance(whole, Blocks):
        return iter(whole)
    return (whole[first : first + BLOCK] for first in range(0, len(whole), BLOCK))


def _part(whole: np.ndarray | Blocks, first: int, samples: int) -> np.ndarray:
    if isinstance(whole, Blocks):
        return whole.read(first, samples)
    return whole[first : first + samples]


def standardise(wave_s: np.ndarray) -> np.ndarray:
    """float32 [s] of mean 0 and variance 1: (w - mean) / sqrt(var + 1e-5) (REFERENCE §5.7)."""
    return standardised(wave_s)[0]


def standardised(sound: Stored | np.ndarray, most: int | None = None) -> tuple[np.ndarray, int]:
    """The first `most` samples of `standardise`, of a whole sound; how many the whole has."""
    whole = _held(sound)
    count = len(whole)
    mean, variance = _moments((_unit(piece_s) for piece_s in _pieces(whole)), count)
    first_s = _unit(_part(whole, 0, count if most is None else most))
    return ((first_s - mean) / np.sqrt(variance + EPS)).astype(np.float32), count


def _held(sound: Stored | np.ndarray | Blocks) -> np.ndarray | Blocks:
    """The whole wave, unless it is too long to be held."""
    whole = sound if isinstance(sound, Blocks) else wave_of(sound)
    return _part(whole, 0, len(whole)) if len(whole) <= LONG else whole


def _moments(pieces: Iterable[np.ndarray], count: int) -> tuple[float, float]:
    """Mean and variance of `count` values, in double precision.

    Of long recordings no whole copy is made: 1e-15 beside numpy's (Chan, Golub and LeVeque).
    """
    if count <= LONG:
        whole_s = np.concatenate(list(pieces))
        return whole_s.mean(dtype=np.float64), whole_s.var(dtype=np.float64)
    seen, mean, squares = 0, 0.0, 0.0
    for piece_s in pieces:
        own_s = piece_s.astype(np.float64)
        own = float(own_s.mean())
        share, moved = len(piece_s) / (seen + len(piece_s)), own - mean
        own_s -= own
        squares += float(own_s @ own_s) + moved**2 * seen * share
        mean += moved * share
        seen += len(piece_s)
    return mean, squares / seen


def _unit(wave_s: np.ndarray) -> np.ndarray:
    """float64 [s]; full scale is 1."""
    return wave_s.astype(np.float64) / (FULL if wave_s.dtype == np.int16 else 1)


def utterance(sound: Stored | np.ndarray, most: int | None = None) -> Utterance:
    """A sound in 16 bits, with the numbers that standardise it; of its samples the first `most`.

    A float wave beyond full scale is not clipped: it is made to fit, and `scale` undoes that.
    """
    whole = _held(sound)
    standard = _standard(whole)
    first_s = _part(whole, 0, len(whole) if most is None else most)
    stored = [in_16_bits(piece_s, standard.fit) for piece_s in _pieces(first_s)]
    return Utterance(np.concatenate(stored), standard.offset, standard.scale)


def standard_of(sound: Stored | np.ndarray) -> Standard:
    """What `utterance` standardises by, of which little is held."""
    return _standard(_held(sound))


def _standard(whole: np.ndarray | Blocks) -> Standard:
    fit, largest = 1.0, 1e-30

    def stored() -> Iterator[np.ndarray]:
        nonlocal largest
        for piece_s in _pieces(whole):
            if whole.dtype != np.int16:
                largest = max(largest, float(piece_s.max()), -float(piece_s.min()))
            yield in_16_bits(piece_s, fit)

    # Of these very samples, in double precision: sums of squares of int16 are large.
    with np.errstate(invalid="ignore"):
        mean, variance = _moments(stored(), len(whole))
    fit = min(1.0, (FULL - 1) / FULL / largest)
    if fit < 1:  # none of that fitted
        mean, variance = _moments(stored(), len(whole))
    deviation = np.sqrt(variance + EPS * (FULL * fit) ** 2)
    return Standard(np.float32(mean), np.float32(1 / deviation), fit)


def in_16_bits(wave_s: np.ndarray, fit: float) -> np.ndarray:
    """int16 [s], of a wave that `fit` brings within full scale."""
    if wave_s.dtype == np.int16:
        return wave_s
    return np.rint(wave_s.astype(np.float64) * (FULL * fit)).astype(np.int16)


class Crop(NamedTuple):
    """An example, the place of its first sample, and how many the recording has."""

    example: Example
    start: int
    whole: int


def random_crop(record: Record, rng: np.random.Generator, samples: int) -> Example:
    """inputs int16 [s], s = `samples`, from anywhere in the recording; its offset and scale.

    Raises `BadRecord` where there are fewer samples, or no sound.
    """
    return crop(record, rng, samples).example


def crop(record: Record, rng: np.random.Generator, samples: int) -> Crop:
    """`random_crop`, and where it lies.

    Where `record.standard` is known, and the samples are used as they are stored or the recording
    is longer than a block, only those of the crop are decoded: the result is the same.
    """
    standard = record.standard
    if standard is not None and not isinstance(record.data, np.ndarray):
        found = _stored_crop(record.data, rng, samples)
        if found is not None:
            inputs_s, start, have = found
            return Crop(_example(inputs_s, standard), start, have)
    whole = wave_of(record.data)
    if standard is None:
        whole = _held(whole)
        standard = _standard(whole)
        if record.learn is not None:
            record.learn(standard)
    start = _start(len(whole), rng, samples)
    inputs_s = in_16_bits(_part(whole, start, samples), standard.fit)
    return Crop(_example(inputs_s, standard), start, len(whole))


def _example(inputs_s: np.ndarray, standard: Standard) -> Example:
    return {"inputs": inputs_s, "offset": standard.offset, "scale": standard.scale}


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


def _stored_crop(
    data: Stored, rng: np.random.Generator, samples: int
) -> tuple[np.ndarray, int, int] | None:
    """int16 [s] of a sound file, the first one's place, and the number of all.

    None, with nothing drawn, where only the whole gives it.
    """
    with opened(data) as file:
        if not (is_exact(file) and length_known(file.frames) and file.seekable()):
            return None
        start, have = _start(file.frames, rng, samples), file.frames
        file.seek(start)
        inputs_s = file.read(samples, "int16")
    if len(inputs_s) < samples:
        raise BadRecord(f"truncated: {len(inputs_s)} of the {samples} samples of a crop")
    return inputs_s, start, have


def _start(have: int, rng: np.random.Generator, samples: int) -> int:
    if have < samples:
        raise BadRecord(f"{have} samples, fewer than its header promises")
    return int(rng.integers(have - samples + 1))
