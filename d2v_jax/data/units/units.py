"""Units: labels of frames beside recordings, which HuBERT learns to name.

A set of them is a folder that `d2v units` writes, found by the names of recordings, so that it
serves a folder, a manifest and the shards prepared of them:

    units.json   format, rate (units a second), clusters, what they were made of, how good they are
    names.json   the recordings
    offsets.npy  int64 [n + 1]: those of recording i are ids[offsets[i]:offsets[i + 1]]
    ids.npy      of all recordings, each below `clusters`
    centers.npy  float32 [clusters, d], of which each frame has the nearest
"""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from d2v_jax.common.checks import UserError
from d2v_jax.common.files import write_whole, written_whole
from d2v_jax.common.names import place
from d2v_jax.data.audio import mfcc, waves
from d2v_jax.data.audio.alignments import of_crop
from d2v_jax.data.audio.sound_files import RATE
from d2v_jax.data.audio.waves import FULL
from d2v_jax.data.records import BadRecord, Example, Record, fingerprint_of

FORMAT = "d2v_jax.units.1"
INDEX, NAMES, OFFSETS = "units.json", "names.json", "offsets.npy"
IDS, CENTERS = "ids.npy", "centers.npy"
NEEDED = ("rate", "clusters", "fingerprint")
BANDS = "builtin:bands"
NONE = -1  # in batches, where there is no unit
ASKED = 200  # recordings of a source whose units are looked for before a run begins
# What may be missing at the end of a recording, for frames see more than their own step.
SLACK_S, SLACK = 0.1, 2


def count_of(samples: int, rate: float) -> int:
    """How many units a crop has places for."""
    return round(samples * rate / RATE)


class Named(Protocol):
    def __len__(self) -> int: ...

    def name(self, index: int) -> str: ...


class UnitSet(Protocol):
    """One label set."""

    path: str  # or another name
    fingerprint: str
    clusters: int

    def check(self, rate: float, sources: Mapping[str, Named]) -> None:
        """Raises `UserError` where they have another rate, or none of the recordings."""
        ...

    def of(self, record: Record, crop: waves.Crop, rate: float) -> np.ndarray:
        """Ids [l] of the units from the crop's start on. Raises `BadRecord` where there are none.

        There may be fewer than the crop has places for.
        """
        ...


class Units:
    """A folder of them; ids are read when they are asked for."""

    def __init__(self, path: str):
        """Raises `UserError` where there is no such folder, or it is damaged."""
        self.path = path
        folder = place(path)
        try:
            self.about = json.loads((folder / INDEX).read_text(encoding="utf-8"))
            names = json.loads((folder / NAMES).read_text(encoding="utf-8"))
            self._offsets = np.load(folder / OFFSETS, allow_pickle=False)
            self._ids = np.load(folder / IDS, mmap_mode="r", allow_pickle=False)
        except FileNotFoundError as error:
            name = pathlib.Path(error.filename).name
            raise UserError(
                f"data.units: {path!r} is no folder of units: it has no {name}. Make it: d2v "
                f"units SOURCE {path}"
            ) from error
        except (OSError, ValueError, EOFError) as error:
            raise self._damaged(f"cannot be read ({error})") from error
        if not isinstance(self.about, dict) or self.about.get("format") != FORMAT:
            raise self._damaged(f"{INDEX} is not of the format {FORMAT!r}")
        if missing := [name for name in NEEDED if name not in self.about]:
            raise self._damaged(f"{INDEX} lacks {', '.join(missing)}")
        fits = self._offsets.shape == (len(names) + 1,) and self._ids.ndim == 1
        if not fits or self._offsets[-1] != len(self._ids) or (np.diff(self._offsets) < 0).any():
            raise self._damaged(f"{NAMES}, {OFFSETS} and {IDS} do not belong together")
        self.rate, self.clusters = float(self.about["rate"]), int(self.about["clusters"])
        self.fingerprint = str(self.about["fingerprint"])
        self._place = {name: number for number, name in enumerate(names)}

    def _damaged(self, what: str) -> UserError:
        return UserError(
            f"data.units: {self.path!r} is damaged: {what}. Remove it and make it again: d2v "
            f"units SOURCE {self.path}"
        )

    def __reduce__(self):
        return Units, (self.path,)

    def centers(self) -> np.ndarray:
        """float32 [clusters, d]; raises `UserError` where they cannot be read."""
        try:
            return np.load(place(self.path) / CENTERS, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise self._damaged(f"{CENTERS} cannot be read ({error})") from error

    def ids(self, name: str) -> np.ndarray:
        """Those of a recording [l]. Raises `BadRecord` where there are none of it."""
        number = self.number(name)
        return self._ids[self._offsets[number] : self._offsets[number + 1]]

    def number(self, name: str) -> int:
        """That of a recording. Raises `BadRecord` where there is none of that name."""
        if name not in self._place:
            raise BadRecord(f"has no units in {self.path}; d2v units makes those of a source", name)
        return self._place[name]

    def check(self, rate: float, sources: Mapping[str, Named]) -> None:
        """`sources` by what a user calls them."""
        if self.rate != rate:
            raise UserError(
                f"data.units: {self.path!r} has {self.rate:g} units a second, and clusters.rate="
                f"{rate:g}; set --config.clusters.rate={self.rate:g}, or give other units"
            )
        self.check_names(
            sources,
            f"Make units of all that is trained on: d2v units {' + '.join(sources)!r} OUT --like "
            f"{self.path}",
        )

    def check_names(self, sources: Mapping[str, Named], remedy: str) -> None:
        """Raises `UserError` where there are none of some recordings."""
        for called, source in sources.items():
            # Of some recordings: the names in shards are read with the sound.
            asked = np.unique(np.linspace(0, len(source) - 1, ASKED).astype(int))
            for name in map(source.name, asked.tolist()):
                if name not in self._place:
                    raise UserError(
                        f"data.units: {self.path!r} has no units of {name!r} in {called}. {remedy}"
                    )

    def of(self, record: Record, crop: waves.Crop, rate: float) -> np.ndarray:
        ids = self.ids(record.name)
        expected = crop.whole * rate / RATE
        if abs(len(ids) - expected) > SLACK + SLACK_S * rate:
            raise BadRecord(
                f"has {len(ids)} units in {self.path}, and {crop.whole} samples at 16 kHz take "
                f"{expected:.0f} at {rate:g} a second. Make the units of these recordings again, "
                "or set clusters.rate to theirs",
                record.name,
            )
        first, count = of_crop(crop.start, len(crop.example["inputs"]), rate, len(ids))
        ids = ids[first : first + count]
        if count and not 0 <= ids.min() <= ids.max() < self.clusters:
            strange = int(ids.max() if ids.max() >= self.clusters else ids.min())
            raise BadRecord(
                f"has the unit {strange} in {self.path}, which has clusters 0 to "
                f"{self.clusters - 1}. Make the units again",
                record.name,
            )
        return ids


class Bands:
    """Of each instant the loudest of 23 mel bands: units of any sound, without a file."""

    path = fingerprint = BANDS
    clusters = mfcc.BANDS

    def check(self, rate: float, sources: Mapping[str, Named]) -> None:
        """They are of any rate and any sound."""

    def of(self, record: Record, crop: waves.Crop, rate: float) -> np.ndarray:
        del record
        bands_l = mfcc.log_mel(crop.example["inputs"] / np.float32(FULL)).argmax(1)
        places = np.arange(count_of(len(crop.example["inputs"]), rate)) * (mfcc.RATE / rate)
        places = places.astype(int)
        return bands_l[places[places < len(bands_l)]]


@dataclasses.dataclass(frozen=True)
class WithUnits:
    """Crops with "units" int32 [l, set]; `NONE` where those of the recording end."""

    sets: tuple[UnitSet, ...]
    rate: float

    def __call__(self, record: Record, rng: np.random.Generator, samples: int) -> Example:
        crop = waves.crop(record, rng, samples)
        units_ls = np.full((count_of(samples, self.rate), len(self.sets)), NONE, np.int32)
        for number, one in enumerate(self.sets):
            ids = one.of(record, crop, self.rate)
            units_ls[: len(ids), number] = ids
        return {**crop.example, "units": units_ls}


def checked(
    sets: Sequence[UnitSet],
    rate: float,
    classes: Sequence[int],
    special: int,
    sources: Mapping[str, Named],
) -> WithUnits:
    """The label sets for crops of `sources`, by what a user calls them.

    Set i has `classes[i]` classes, `special` of which no cluster is. Raises `UserError` for units
    of another rate, of more clusters, or of other recordings.
    """
    for one, count in zip(sets, classes):
        if one.clusters + special > count:
            raise UserError(
                f"data.units: {one.path!r} has {one.clusters} clusters, and clusters.classes="
                f"{tuple(classes)} has room for {count - special} beside clusters.special="
                f"{special}; set {one.clusters + special} there, and in data.unit_classes where "
                "that is a field of its own"
            )
        one.check(rate, sources)
    return WithUnits(tuple(sets), rate)


class Part(NamedTuple):
    """Units of some recordings, one after the other: ids [t], and how many each has [n]."""

    names: list[str]
    ids: np.ndarray
    counts: np.ndarray


def write(
    folder: pathlib.Path,
    parts: Callable[[], Iterable[Part]],
    centers: np.ndarray,
    about: Mapping[str, Any],
) -> None:
    """Writes units whole; `parts` are gone through twice, so that one is held at a time.

    `about` says more for units.json, which is written last and makes it a folder of units.
    """
    names: list[str] = []
    counts = [np.zeros(1, np.int64)]
    for part in parts():
        names += part.names
        counts.append(part.counts)
    offsets = np.cumsum(np.concatenate(counts))
    _save(folder / OFFSETS, offsets)
    _save(folder / CENTERS, centers)
    write_whole(folder / NAMES, json.dumps(names))
    digest, at = hashlib.sha256(centers.tobytes()), 0
    with written_whole(folder / IDS) as path:
        kind, shape = np.min_scalar_type(len(centers) - 1), (int(offsets[-1]),)
        ids = np.lib.format.open_memmap(path, "w+", kind, shape)
        for part in parts():
            ids[at : at + len(part.ids)] = part.ids
            at += len(part.ids)
            digest.update(part.ids.astype("<i4").tobytes())
        ids.flush()
    fingerprint = fingerprint_of((about["rate"], names, digest.hexdigest()))
    index = {"format": FORMAT, **about, "clusters": len(centers), "fingerprint": fingerprint}
    write_whole(folder / INDEX, json.dumps(index, indent=2) + "\n")


def _save(path: pathlib.Path, array: np.ndarray) -> None:
    with written_whole(path) as part, part.open("wb") as file:
        np.save(file, array)
