"""What people write without this package, and how much faster it is here, on the same records.

Both sides take turns on one record after the other. Time is that of the processor, of all threads
of this process: the figures are of one core, whatever else the machine does.
"""

import dataclasses
import io
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import soundfile
import soxr
from PIL import Image

from d2v_jax.common.checks import UserError
from d2v_jax.data.audio import waves
from d2v_jax.data.config import AudioData, DataConfig, ImageData, TextData
from d2v_jax.data.image import pictures
from d2v_jax.data.records import BadRecord, Record, Source
from d2v_jax.data.sources import BUILTIN_PREFIX, PYTHON_DOCS, each_source, open_documents
from d2v_jax.data.stores.prepared import looks_prepared, read_index
from d2v_jax.data.text.rows import padded
from d2v_jax.data.text.tokenizer import Tokenizer, tokenizer_of

LEAST = 5  # pairs, however long they take
BLOCKS = 32  # of text, timed together
PIECES = 1024  # of text, held
Timed = tuple[float, Any]  # processor seconds, result


@dataclasses.dataclass(frozen=True)
class Beside:
    """`ratio`: how many times as fast as the plain loop, the median of `pairs`.

    `ours` and `plain` are records, of text tokens, per second of one core; `difference` is the
    mean distance of pictures from those of the plain loop, in grey levels.
    """

    what: str
    plain_loop: str
    ratio: float
    pairs: int
    ours: float
    plain: float
    difference: float | None = None


def compare(
    cfg: DataConfig, source: Source, records: Sequence[tuple[Record, int]], seconds: float
) -> list[Beside]:
    """Measures for `seconds`, or longer until there are a few pairs.

    `records`: readable ones, with the lengths that they are cut to.
    """
    match cfg:
        case ImageData():
            return _pictures(cfg, [record for record, _ in records], seconds)
        case AudioData():
            return _sounds(records, seconds)
        case TextData():
            return _texts(cfg, source, seconds)


def _timed(call: Callable[[], Any]) -> Timed:
    began = time.process_time()
    result = call()
    return max(time.process_time() - began, 1e-9), result


def _turns(
    calls: Callable[[int], dict[str, Callable[[], Any]]], seconds: float
) -> dict[str, list[Timed]]:
    """calls(n) is called with 0, 1, 2, ... for the contestants; each round another one begins."""
    taken: dict[str, list[Timed]] = {}
    began = time.monotonic()
    for number in itertools.count():
        one = calls(number)
        names = list(one)
        first = number % len(names)
        for name in names[first:] + names[:first]:
            taken.setdefault(name, []).append(_timed(one[name]))
        if time.monotonic() - began >= seconds and number + 1 >= LEAST:
            return taken
    raise AssertionError("unreachable")


def _besides(taken: dict[str, list[Timed]], plain_loop: str) -> dict[str, Beside]:
    """Of each contestant but "plain"."""
    plain_n = np.array([spent for spent, _ in taken.pop("plain")])
    return {
        name: Beside(
            name, plain_loop, float(np.median(plain_n / ours_n)), len(ours_n),
            float(1 / np.median(ours_n)), float(1 / np.median(plain_n)),
        )
        for name, ours_n in ((n, np.array([spent for spent, _ in t])) for n, t in taken.items())
    }  # fmt: skip


def _pictures(cfg: ImageData, records: Sequence[Record], seconds: float) -> list[Beside]:
    hows = {how: dataclasses.replace(cfg, resize=how, flip=0.0, jitter=0.0)
            for how in ("exact", "fast")}  # fmt: skip
    readable = []
    for record in records:
        try:
            plain_picture(record.data, cfg, _rng(0))
            readable.append(record)
        except (OSError, ValueError, SyntaxError):  # what Pillow's decoders raise
            continue

    def calls(number: int) -> dict[str, Callable[[], np.ndarray]]:
        record = readable[number % len(readable)]
        made: dict[str, Callable[[], np.ndarray]] = {
            f"data.resize={how!r}": lambda c=c: pictures.augment(record, c, _rng(number))
            for how, c in hows.items()
        }
        return {"plain": lambda: plain_picture(record.data, cfg, _rng(number)), **made}

    if not readable:
        return []
    taken = _turns(calls, seconds)
    plain = [result for _, result in taken["plain"]]
    distances = {
        name: float(
            np.mean([np.abs(one[1].astype(int) - two).mean() for one, two in zip(t, plain)])
        )
        for name, t in taken.items()
    }
    besides = _besides(taken, f"PIL: open, crop, bicubic resize to {cfg.image_size}")
    return [dataclasses.replace(one, difference=distances[n]) for n, one in besides.items()]


def plain_picture(
    data: bytes | np.ndarray, cfg: ImageData, rng: np.random.Generator
) -> np.ndarray:  # fmt: skip
    """uint8 [y, x, c]: the same box as `image.augment` draws, with Pillow alone."""
    if isinstance(data, bytes):
        picture = Image.open(io.BytesIO(data))
    else:
        picture = Image.fromarray(data[:, :, 0] if data.shape[2:] == (1,) else data)
    picture = picture.convert(pictures.MODES[cfg.channels])
    box = pictures.random_resized_crop_box(*picture.size, cfg.crop_scale, cfg.crop_ratio, rng)
    sides = (cfg.image_size, cfg.image_size)
    pixels = np.asarray(picture.crop(box).resize(sides, Image.Resampling.BICUBIC))
    return pixels.reshape(*sides, cfg.channels)


def _sounds(records: Sequence[tuple[Record, int]], seconds: float) -> list[Beside]:
    files = []
    for record, length in records:
        if not isinstance(record.data, bytes):
            continue  # synthesised, or decoded by the source: there is no file to read
        try:
            whole = waves.utterance(waves.decode(record.data))
            plain_sound(record.data, length, _rng(0))
        except (BadRecord, soundfile.SoundFileError, ValueError):
            continue
        known = dataclasses.replace(record, standard=(whole.offset, whole.scale), learn=None)
        files.append((record, known, length))
    if not files:
        return []
    stored = all(record.standard is not None for record, _, _ in files)

    def calls(number: int) -> dict[str, Callable[[], Any]]:
        record, known, length = files[number % len(files)]
        made = {
            "plain": lambda: plain_sound(record.data, length, _rng(number)),
            "crops, what standardises them known":
                lambda: waves.random_crop(known, _rng(number), length),
        }  # fmt: skip
        if not stored:
            fresh = dataclasses.replace(record, standard=None, learn=None)
            made["crops, each recording for the first time"] = (
                lambda: waves.random_crop(fresh, _rng(number), length)
            )  # fmt: skip
        return made

    loop = "soundfile: read the file, cut; not standardised"
    return list(_besides(_turns(calls, seconds), loop).values())


def plain_sound(data: bytes, samples: int, rng: np.random.Generator) -> np.ndarray:
    """float32 [s] of one file, which is read as a whole."""
    wave_s, rate = soundfile.read(io.BytesIO(data), dtype="float32")
    if wave_s.ndim == 2:
        wave_s = wave_s.mean(axis=1)
    if rate != waves.RATE:
        wave_s = soxr.resample(wave_s, rate, waves.RATE)
    start = int(rng.integers(len(wave_s) - samples + 1))
    return wave_s[start : start + samples]


def _texts(cfg: TextData, source: Source, seconds: float) -> list[Beside]:
    lines, name = _same_text(each_source(cfg)[0])
    tokenizer = tokenizer_of(cfg)
    pieces = list(itertools.islice(_pieces(lines, tokenizer, cfg.tokens - 1), PIECES))
    ids_n = _rng(0).integers(len(source), size=PIECES).tolist()
    rng = _rng(0)

    def read(index: int) -> int:
        try:
            record = source.read(index)
        except BadRecord:
            return 0
        padded(record, rng, cfg.tokens)
        return len(record.data)

    def tokenised(piece: list[str]) -> int:
        ids_t = tokenizer.encode(piece)[: cfg.tokens - 1]
        padded(Record(ids_t, None, ""), rng, cfg.tokens)
        return len(ids_t)

    def some(of: list[Any], number: int) -> list[Any]:
        return [of[(number * BLOCKS + i) % len(of)] for i in range(BLOCKS)]

    def calls(number: int) -> dict[str, Callable[[], int]]:
        return {
            "plain": lambda: sum(map(tokenised, some(pieces, number))),
            "blocks in random order": lambda: sum(map(read, some(ids_n, number))),
        }

    if not pieces:
        return []
    taken = _turns(calls, seconds)
    # Of one token each.
    each = {n: [(spent / max(count, 1), count) for spent, count in t] for n, t in taken.items()}
    return list(_besides(each, f"tokenising {name}, block by block").values())


def _same_text(cfg: TextData) -> tuple[Iterator[str], str]:
    """Lines of the source, of what it was prepared from, or else of the built-in text."""
    source = cfg.source
    if looks_prepared(source):
        source = read_index(source, "text")["source"]
    try:
        texts, name = open_documents(dataclasses.replace(cfg, source=source)), "the same text"
    except (UserError, OSError):
        docs = dataclasses.replace(cfg, source=PYTHON_DOCS, split="train")
        texts, name = (
            open_documents(docs),
            f"other text ({PYTHON_DOCS.removeprefix(BUILTIN_PREFIX)})",
        )
    return (line for part in texts.documents() for line in part.lines), name


def _pieces(lines: Iterator[str], tokenizer: Tokenizer, tokens: int) -> Iterator[list[str]]:
    """Lines that make a block of `tokens` or a little more."""
    held: list[str] = []
    count = 0
    for line in lines:
        held.append(line)
        count += len(tokenizer.encode([line]))
        if count >= tokens:
            yield held
            held, count = [], 0
    if held:
        yield held


def _rng(number: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=number))
