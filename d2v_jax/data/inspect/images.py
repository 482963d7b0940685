"""Looking at pictures."""

import array
import functools
from typing import Any, NamedTuple

import numpy as np

from d2v_jax.data.image import pictures
from d2v_jax.data.inspect.findings import Findings, chosen, each, listed, range_of
from d2v_jax.data.records import Record, Source

PICTURES = 36  # shown
SHOWN_SIDE = 128  # pixels
CHANNELS = {1: "grey", 3: "R, G, B"}


class Seen(NamedTuple):
    width: int
    height: int
    kind: str
    mode: str
    bytes: int
    mean_c: np.ndarray
    square_c: np.ndarray
    small_yxc: np.ndarray


class Sums:
    """What is kept of all pictures; it grows by sixteen bytes with each."""

    def __init__(self, channels: int):
        self.widths, self.heights = array.array("q"), array.array("q")
        self.bytes = 0
        self.kinds: dict[str, int] = {}
        self.modes: dict[str, int] = {}
        self.mean_c, self.square_c = np.zeros(channels), np.zeros(channels)

    def add(self, one: Seen) -> None:
        self.widths.append(one.width)
        self.heights.append(one.height)
        self.bytes += one.bytes
        self.kinds[one.kind] = self.kinds.get(one.kind, 0) + 1
        self.modes[one.mode] = self.modes.get(one.mode, 0) + 1
        self.mean_c += one.mean_c
        self.square_c += one.square_c


def look(source: Source, how: Any, sample: int | None) -> Findings:
    """All pictures of `source`, which the section `how` names, decoded whole.

    What is unreadable here is so in training.
    """
    name, image_size, channels = how.source, how.image_size, how.channels
    numbers = chosen(len(source), sample)
    found = Findings(name, source.fingerprint, len(source), len(numbers))
    found.bad.update(getattr(source, "faults", {}))
    found.passed_over = dict(getattr(source, "passed_over", {}))
    shown = set(chosen(len(numbers), PICTURES))
    sums = Sums(channels)
    each_one = functools.partial(_one, channels=channels, most=how.most_pixels)
    for place, one in enumerate(each(source, numbers, each_one, found)):
        sums.add(one)
        if place in shown:
            found.pictures.append(one.small_yxc)
    _summarise(found, sums, image_size, channels)
    return found


def _one(record: Record, channels: int, most: int) -> Seen:
    picture = pictures.decode(record.data, channels, most)
    kind, mode = "pixels", "L" if channels_of(record.data) == 1 else "RGB"
    size = record.size
    if isinstance(record.data, bytes):
        with pictures.opened(record.data) as header:
            kind, mode = str(header.format), header.mode
            if "transparency" in header.info:
                mode += " with alpha"
    # Pillow counts without a copy of the pixels, which would take eight times their memory.
    share_cv = np.reshape(picture.histogram(), (channels, 256)) / (picture.width * picture.height)
    levels = np.arange(256) / 255
    small = picture.convert("RGB") if channels == 1 else picture.copy()
    small.thumbnail((SHOWN_SIDE, SHOWN_SIDE))
    return Seen(
        *picture.size,
        kind,
        mode,
        size,
        share_cv @ levels,
        share_cv @ levels**2,
        np.asarray(small, np.uint8),
    )


def channels_of(data: bytes | np.ndarray) -> int:
    """Of pixels; 0 of an encoded picture."""
    if isinstance(data, bytes):
        return 0
    return 1 if data.ndim == 2 else data.shape[2]


def _summarise(found: Findings, sums: Sums, image_size: int, channels: int) -> None:
    width, height = np.array(sums.widths, np.int64), np.array(sums.heights, np.int64)
    count = len(width)
    small = int((np.minimum(width, height) < image_size).sum())
    # Of none there is no mean, and JSON has no NaN.
    mean_c = sums.mean_c / count if count else np.zeros(0)
    std_c = np.sqrt(np.maximum(sums.square_c / count - mean_c**2, 0)) if count else np.zeros(0)
    kinds, modes = (
        dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
        for counts in (sums.kinds, sums.modes)
    )
    looked = (
        f"{found.looked_at:,} of {found.records:,}"
        if found.looked_at < found.records
        else f"{found.records:,}"
    )
    several = lambda values: ", ".join(f"{value:.3f}" for value in values) or "-"
    names = CHANNELS[channels]
    megapixels = width * height / 1e6
    found.facts = {
        "pictures": looked,
        "readable": f"{count:,}",
        "megabytes": f"{sums.bytes / 1e6:,.1f}",
        "width": f"{range_of(width)} (least / median / most)",
        "height": range_of(height),
        "megapixels": range_of(megapixels, 3),
        "formats": listed(kinds),
        "modes": listed(modes),
        f"sides below {image_size}": f"{small:,} ({small / count:.1%}), which crops enlarge"
        if small
        else "0",
        f"mean of {names}": f"{several(mean_c)} (of {count:,}, each picture counts the same)",
        f"std of {names}": several(std_c),
    }
    found.numbers = {
        "readable": count,
        "bytes": sums.bytes,
        "formats": kinds,
        "modes": modes,
        "small": small,
        "mean": mean_c.tolist(),
        "std": std_c.tolist(),
    }
    found.histograms = {
        "width, pixels": width,
        "height, pixels": height,
        "shorter side, pixels": np.minimum(width, height),
        "megapixels": megapixels,
        "width / height": width / np.maximum(height, 1),
    }
