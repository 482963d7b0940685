"""What is clustered: MFCCs of the waves, or what a layer of a model makes of them."""

import math
import pathlib
from typing import Protocol

import numpy as np

from d2v_jax.common.checks import UserError
from d2v_jax.data.audio import inputs, mfcc
from d2v_jax.data.audio.sound_files import RATE
from d2v_jax.data.audio.waves import FULL, standardise
from d2v_jax.transfer import encoder
from d2v_jax.transfer.answers.results import weights_hash

MFCC = "mfcc"
LONGEST = 100 * RATE  # samples that a model is given at once


class Frames(Protocol):
    """Frame i is made of `field` samples from `step * i` on."""

    name: str  # in words
    follows: tuple[str, ...]  # equal where the frames are
    step: int
    field: int

    def of(self, waves: list[np.ndarray]) -> list[np.ndarray]:
        """Waves [s] at 16 kHz, int16 or float of full scale 1 -> float32 [t, d] of each."""
        ...


class Mfcc:
    """39 of Kaldi's cepstra and their deltas, as HuBERT's first iteration has them."""

    name, follows = "MFCCs", (MFCC,)
    step, field = mfcc.STEP, mfcc.FRAME

    def of(self, waves: list[np.ndarray]) -> list[np.ndarray]:
        scale = lambda wave_s: wave_s / np.float32(FULL) if wave_s.dtype == np.int16 else wave_s
        return [mfcc.features(scale(wave_s)) for wave_s in waves]


class Layer:
    """What an encoder's layer makes of whole standardised recordings, long ones in parts."""

    def __init__(self, path: pathlib.Path, layer: str | None, modality: str):
        """Raises `UserError` where there is no such checkpoint or layer, or it hears nothing."""
        self._encoder = encoder.load(path)
        if self._encoder.recipe.modality != modality:
            raise UserError(
                f"--of {path}: a model of {self._encoder.recipe.modality}; units are clusters of "
                "frames of sound"
            )
        depth = self._encoder.config.trunk.depth
        if layer is None:
            raise UserError(
                f"--of {path}: say which --layer of it, a trunk block's number from 0 to "
                f"{depth - 1}; HuBERT takes that in the middle, here {max(0, depth // 2 - 1)}"
            )
        self._layer = encoder.parse_layer(layer, depth)
        self.name = f"layer {layer} of {path}"
        self.follows = (weights_hash(self._encoder.params), str(self._layer))
        convolutions = self._encoder.config.frontend.conv_layers
        self.step = math.prod(stride for *_, stride in convolutions)
        self.field = inputs.shortest(convolutions)

    def of(self, waves: list[np.ndarray]) -> list[np.ndarray]:
        pieces, owners = [], []
        each = LONGEST // self.step * self.step
        for number, wave_s in enumerate(waves):
            ready_s = standardise(wave_s)
            # Pieces overlap, so that no frame between two of them is lost.
            last = max(1, len(ready_s) - self.field + 1)
            for first in range(0, last, each):
                pieces.append(ready_s[first : first + each + self.field - self.step])
                owners.append(number)
        found = self._encoder.features(pieces, self._layer, None, standardise=False)
        owners = np.array(owners)
        return [
            np.concatenate([found[place] for place in np.flatnonzero(owners == number)])
            for number in range(len(waves))
        ]


def frames(of: str, layer: str | None, modality: str) -> Frames:
    """`of`: "mfcc", or a checkpoint, of which `layer` is taken."""
    if of != MFCC:
        return Layer(pathlib.Path(of).expanduser(), layer, modality)
    if layer is not None:
        raise UserError(f"--layer {layer}: MFCCs have none; give --of CHECKPOINT too")
    return Mfcc()
