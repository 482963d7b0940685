"""A modality that d2v_jax does not know, as a stranger would write its side of the data."""

import dataclasses
import pathlib

import numpy as np

from d2v_jax.common import fields
from d2v_jax.data import modality
from d2v_jax.data.opened import joined
from d2v_jax.data.prepare import examples, write_shards
from d2v_jax.data.records import BadRecord, Record, fingerprint_of
from d2v_jax.data.stores.prepared import Prepared, looks_prepared

CHANNELS = 4


class Recordings:
    """The .npy files of a folder, float32 [channel, t]."""

    class_names = None

    def __init__(self, folder: str):
        self.paths = sorted(pathlib.Path(folder).glob("*.npy"))
        self.fingerprint = fingerprint_of(("toy eeg", *(path.name for path in self.paths)))

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, index: int) -> Record:
        data = self.paths[index].read_bytes()
        return Record(data[-CHANNELS * 4 * 64 :], None, self.paths[index].name)


def cut(record: Record, rng: np.random.Generator, length: int) -> dict[str, np.ndarray]:
    """`length` samples of all channels, from anywhere."""
    if len(record.data) < CHANNELS * 4 * 64:
        raise BadRecord("too short")
    wave_ct = np.frombuffer(record.data, np.float32).reshape(CHANNELS, -1)
    start = int(rng.integers(wave_ct.shape[1] - length + 1))
    return {"inputs": wave_ct[:, start : start + length]}


def stored(record: Record) -> tuple[bytes, int]:
    """As a prepared folder holds it."""
    return examples.serialized(record, data=record.data), 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Data(modality.Data):
    """Crops of `samples` of every channel."""

    noun, nouns, files = "recording", "recordings", "recordings"
    samples: int = fields.positive()

    @property
    def example_shape(self) -> tuple[int, ...]:
        return (CHANNELS, self.samples)

    def records(self):
        if looks_prepared(self.source):
            return Prepared(self.source, self.modality)
        return Recordings(self.source)

    def open(self):
        sources = [one.records() for one in self.each()]
        return joined(sources, cut, ("toy eeg", self.samples), self.samples)


class Preparing(Data):
    """The same with a prepared form."""

    modality = "toy_eeg"

    def prepare(self, out, workers, shard_mb, max_side):
        asked = write_shards.Asked(
            self.modality, self.source, self.split, shard_mb, max_side, self.max_bad_share
        )
        return write_shards.write(self.records(), stored, asked, out, workers)
