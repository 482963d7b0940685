"""An objective: a hidden layer that gives back pixels from noisy ones. No teacher, no masks."""

import dataclasses
import math
from typing import ClassVar

import jax
import jax.numpy as jnp

from d2v_jax.common.fields import not_negative, positive
from d2v_jax.encoder import objective
from d2v_jax.frontends.frontend import Frontend


@dataclasses.dataclass(frozen=True)
class Autoencoder:
    width: int = positive()
    noise: float = not_negative()


@dataclasses.dataclass(frozen=True)
class Sections:
    frontend: Frontend
    autoencoder: Autoencoder


@dataclasses.dataclass(frozen=True)
class Objective(objective.Objective):
    cfg: Sections
    sections: ClassVar[type] = Sections

    def init(self, key, example_shape):
        pixels, width = math.prod(example_shape), self.cfg.autoencoder.width
        down, up = jax.random.split(key)
        matrix = lambda key, rows, columns: jax.random.normal(key, (rows, columns)) / rows**0.5
        return {
            "down": {"kernel": matrix(down, pixels, width)},
            "up": {"kernel": matrix(up, width, pixels)},
        }

    def draw(self, random, batch):
        x_bp = self.cfg.frontend.prepare(batch).values.reshape(len(batch["example_id"]), -1)
        noise = jax.vmap(lambda key: jax.random.normal(key, x_bp.shape[1:]))
        return x_bp, self.cfg.autoencoder.noise * noise(random.named("noise").each_n)

    def counts(self, drawn):
        return {"pixels": jnp.float32(drawn[0].size)}

    def loss(self, params, carried, drawn, random, whole, step):
        x_bp, noise_bp = drawn
        hidden = jnp.tanh((x_bp + noise_bp) @ params["down"]["kernel"])
        squares = jnp.square(hidden @ params["up"]["kernel"] - x_bp).sum()
        return squares / whole["pixels"], {"squared_error": (squares, whole["pixels"])}
