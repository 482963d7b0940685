"""A trained encoder in the hand: parameters as a plain tree, features as NumPy arrays."""

import dataclasses
import functools
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from d2v_jax.common import rng
from d2v_jax.common.checks import UserError
from d2v_jax.common.trees import Tree
from d2v_jax.data2vec.config import ModelConfig
from d2v_jax.data2vec.model import Encoded, Model
from d2v_jax.train import run
from d2v_jax.train.checkpoint import load_trees

BATCH = 64  # images per call of the compiled encoder


@dataclasses.dataclass(frozen=True)
class Encoder:
    """Frozen features of one parameter tree.

    `params` is the whole model's nested dict of float32 arrays; `teacher` only the parts the
    teacher owns, or None where the checkpoint has no teacher.
    """

    config: ModelConfig
    params: Tree
    teacher: Tree | None
    step: int

    def as_teacher(self) -> "Encoder":
        """The same encoder with the teacher's numbers."""
        if self.teacher is None:
            raise UserError("this checkpoint holds no teacher; use the student's features")
        return dataclasses.replace(self, params={**self.params, **self.teacher})

    def untrained(self, seed: int = 0) -> "Encoder":
        """The same architecture with fresh random parameters, for comparison."""
        params = jax.jit(Model(self.config).init)(rng.stream(seed, "untrained"))
        return dataclasses.replace(self, params=params, teacher=None, step=0)

    def features(
        self, images_byxc: np.ndarray, layer: str | int = "last", pool: str | None = "mean"
    ) -> np.ndarray:
        """uint8 images [b, y, x, c] of the recipe's size -> float32 [b, d], or [b, t, d].

        `layer`: "last", "average" (mean over the trunk's blocks), "all" (their concatenation,
        [b, depth * d]) or a trunk block's number from 0. `pool`: "mean" over
        patch tokens, or None for all of them; prefix tokens are dropped either way.
        """
        images_byxc = np.asarray(images_byxc)
        if not len(images_byxc):
            raise UserError("there are no images to encode; give at least one")
        shape = Model(self.config).input_shape
        if images_byxc.ndim != 4 or images_byxc.shape[1:] != shape:
            raise UserError(
                f"images of shape {images_byxc.shape} do not fit this encoder; it "
                f"takes [b, {', '.join(map(str, shape))}]"
            )
        if images_byxc.dtype != np.uint8:
            raise UserError(f"images are {images_byxc.dtype}; give uint8 pixels from 0 to 255")
        layer = parse_layer(layer, self.config.trunk.depth)
        parts = []
        for start in range(0, len(images_byxc), BATCH):
            part = images_byxc[start : start + BATCH]
            padded = np.zeros((BATCH, *shape), np.uint8)
            padded[: len(part)] = part
            out = _encode(self.config, layer, pool, self.params, padded)
            parts.append(np.asarray(out)[: len(part)])
        return np.concatenate(parts)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _encode(config: ModelConfig, layer: str | int, pool: str | None, params: Tree, raw: Any):
    model = Model(config)
    encoded: Encoded = model.contextualize(params, model.tokens(params, model.prepare(raw)))
    outs = [block.out[:, config.trunk.prefix_tokens :] for block in encoded.trunk]
    match layer:
        case "last":
            x_btd = outs[-1]
        case "average":
            x_btd = sum(outs) / len(outs)
        case "all":
            x_btd = jnp.concatenate(outs, -1)
        case number:
            x_btd = outs[number]
    x_btd = x_btd.astype("float32")
    return x_btd.mean(1) if pool == "mean" else x_btd


def parse_layer(layer: str | int, depth: int) -> str | int:
    """Returns "last", "average", "all" or a block number; raises `UserError` for anything else."""
    if layer in ("last", "average", "all"):
        return layer
    if str(layer).isdigit() and int(layer) < depth:
        return int(layer)
    raise UserError(
        f"layer={layer!r} is not 'last', 'average', 'all' or a block number from 0 to {depth - 1}"
    )


def load(path: str | pathlib.Path) -> Encoder:
    """Opens a run folder made by `d2v pretrain` or `d2v convert`."""
    workdir = pathlib.Path(path).expanduser()
    config = run.read_config(workdir)
    step, student, teacher = load_trees(workdir)
    return Encoder(config.model, student, teacher or None, step)
