"""A modality: log-mel spectrograms of sound files, cut into patches of bands and frames."""

import dataclasses

import flax.linen as nn
import numpy as np
from einops import rearrange

from d2v_jax.common.fields import positive
from d2v_jax.data import modality
from d2v_jax.data.audio import waves
from d2v_jax.data.labelled import exams
from d2v_jax.data.labelled.baselines import BANDS, log_mel
from d2v_jax.data.opened import joined
from d2v_jax.data.records import BadRecord, Record
from d2v_jax.data.requests import Named
from d2v_jax.data.stores.folder import Folder, Kind
from d2v_jax.frontends import frontend
from d2v_jax.nn.dense import Dense

KIND = Kind("sound files", (".wav",), "a folder of .wav files")


def spectrogram(record: Record) -> np.ndarray:
    """[band, t]"""
    return log_mel(waves.standardise(waves.decode(record.data))).T


def cut(record: Record, rng: np.random.Generator, length: int) -> dict[str, np.ndarray]:
    """`length` frames, from anywhere."""
    x_bt = spectrogram(record)
    if x_bt.shape[1] < length:
        raise BadRecord(f"only {x_bt.shape[1]} frames")
    start = int(rng.integers(x_bt.shape[1] - length + 1))
    return {"inputs": x_bt[:, start : start + length]}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Data(modality.Data):
    noun, nouns, files = "sound file", "sounds", "sound files"
    frames: int = positive()

    @property
    def example_shape(self):
        return BANDS, self.frames

    def open(self):
        sources = [Folder(one.source, KIND) for one in self.each()]
        return joined(sources, cut, ("log-mel", self.frames), self.frames)

    def inputs_of(self, path, frontend, seconds):
        folder = Folder(path, KIND)
        return Named((folder.name(i), self._begin(folder.read(i))) for i in range(len(folder)))

    def exam(self, frontend, count, seed):
        plain = "bands", lambda x_nbt: x_nbt.mean(-1)
        return exams.of_folder(Folder(self.source, KIND), self._begin, count, self.nouns, plain)

    def _begin(self, record):
        return spectrogram(record)[:, : self.frames]


@dataclasses.dataclass(frozen=True)
class Frontend(frontend.Frontend):
    patch: int = positive()  # bands, and frames, of a patch

    @property
    def grid(self):
        return BANDS // self.patch, None

    def build(self, width, dtype, init):
        return Patches(self.patch, width, dtype)

    def token_count(self, example_shape):
        return example_shape[0] // self.patch * (example_shape[1] // self.patch)


class Patches(nn.Module):
    patch: int
    width: int
    dtype: str

    @nn.compact
    def __call__(self, x_nbt, random=None):
        patches = rearrange(x_nbt, "n (b i) (t j) -> n (b t) (i j)", i=self.patch, j=self.patch)
        return Dense(self.width, dtype=self.dtype, name="patch")(patches)
