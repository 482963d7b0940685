"""A modality: recordings of 32 channels, cut into patches of each channel and time."""

import dataclasses
import io

import flax.linen as nn
import numpy as np
from einops import rearrange

from d2v_jax.common.fields import positive
from d2v_jax.data import modality
from d2v_jax.data.labelled import exams
from d2v_jax.data.opened import joined
from d2v_jax.data.records import BadRecord, Record
from d2v_jax.data.requests import Named
from d2v_jax.data.stores.folder import Folder, Kind
from d2v_jax.frontends import frontend
from d2v_jax.nn.dense import Dense

CHANNELS = 32
KIND = Kind("recordings", (".npy",), "a folder of .npy files, float32 [32, t]")


def decode(record: Record) -> np.ndarray:
    try:
        return np.load(io.BytesIO(record.data)).astype(np.float32)
    except ValueError as error:
        raise BadRecord(f"no array: {error}") from error


def cut(record: Record, rng: np.random.Generator, length: int) -> dict[str, np.ndarray]:
    """`length` samples of all channels, from anywhere."""
    wave_ct = decode(record)
    if len(wave_ct) != CHANNELS or wave_ct.shape[1] < length:
        raise BadRecord(f"a recording of {wave_ct.shape}")
    start = int(rng.integers(wave_ct.shape[1] - length + 1))
    return {"inputs": wave_ct[:, start : start + length]}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Data(modality.Data):
    noun, nouns, files = "recording", "recordings", "recordings"
    samples: int = positive()

    @property
    def example_shape(self):
        return CHANNELS, self.samples

    def open(self):
        sources = [Folder(one.source, KIND) for one in self.each()]
        return joined(sources, cut, ("eeg", self.samples), self.samples)

    def inputs_of(self, path, frontend, seconds):
        folder = Folder(path, KIND)
        return Named((folder.name(i), self._begin(folder.read(i))) for i in range(len(folder)))

    def exam(self, frontend, count, seed):
        plain = "samples", lambda wave_nct: wave_nct.reshape(len(wave_nct), -1)
        return exams.of_folder(Folder(self.source, KIND), self._begin, count, self.nouns, plain)

    def _begin(self, record):
        return decode(record)[:, : self.samples]


@dataclasses.dataclass(frozen=True)
class Frontend(frontend.Frontend):
    patch: int = positive()  # samples of a patch

    @property
    def grid(self):
        return CHANNELS, None

    def build(self, width, dtype, init):
        return Patches(self.patch, width, dtype)

    def token_count(self, example_shape):
        return CHANNELS * (example_shape[1] // self.patch)


class Patches(nn.Module):
    patch: int
    width: int
    dtype: str

    @nn.compact
    def __call__(self, wave_nct, random=None):
        patches_ntp = rearrange(wave_nct, "n c (t p) -> n (c t) p", p=self.patch)
        return Dense(self.width, dtype=self.dtype, name="patch")(patches_ntp)
