"""Pixels in, tokens out."""

import dataclasses
import math
from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange

from d2v_jax.common.rng import Keys
from d2v_jax.nn import initializers
from d2v_jax.nn.norm import standardize

DTYPE = jnp.float32  # of inputs


@dataclasses.dataclass(frozen=True)
class ImageFrontend:
    patch_size: int
    image_size: int
    channels: int
    normalize: str
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def grid(self) -> int:
        """Patches along one side."""
        return self.image_size // self.patch_size


def build(cfg: ImageFrontend, width: int, dtype: str, init: str) -> nn.Module:
    """The module (image_byxc, keys) -> tokens_btd."""
    return Patches(cfg.patch_size, width, dtype, init)


def prepare(cfg: ImageFrontend, batch: Mapping[str, jax.Array]) -> jax.Array:
    """uint8 pixels -> image_byxc float32."""
    return normalize(batch["inputs"], cfg.normalize, cfg.mean, cfg.std)


def token_count(cfg: ImageFrontend, example_shape: tuple[int, ...]) -> int:
    """Patches of a picture (y, x, c)."""
    return math.prod(side // cfg.patch_size for side in example_shape[:2])


def multiply_adds(
    cfg: ImageFrontend, example_shape: tuple[int, ...], width: int
) -> tuple[int, int]:
    """Of matrix products for one picture: forwards, and backwards; pixels need no gradient."""
    once = token_count(cfg, example_shape) * cfg.patch_size**2 * example_shape[2] * width
    return once, once


def padding(cfg: ImageFrontend, image_byxc: jax.Array, lengths_b: jax.Array | None) -> None:
    """Pictures have none."""
    del cfg, image_byxc, lengths_b


def normalize(
    pixels_byxc: jax.Array, how: str, mean: tuple[float, ...], std: tuple[float, ...]
) -> jax.Array:
    """uint8 [b, y, x, c] -> float32 of about unit scale.

    "dataset" subtracts `mean` and divides by `std` per channel, of pixels scaled to [0, 1].
    "crop" standardises each crop over all its pixels: on small crops brightness and contrast
    otherwise dominate, and the targets turn positional.
    """
    image_byxc = pixels_byxc.astype(jnp.float32) / 255
    if how == "crop":
        flat = standardize(image_byxc.reshape(image_byxc.shape[0], -1), -1)
        return flat.reshape(image_byxc.shape)
    return (image_byxc - jnp.asarray(mean)) / jnp.asarray(std)


class PatchEmbed(nn.Module):
    """image_byxc -> tokens_btd: non-overlapping patches, row-major, each projected with bias."""

    patch_size: int
    width: int
    dtype: str
    initial: str

    @nn.compact
    def __call__(self, image_byxc: jax.Array) -> jax.Array:
        p, channels = self.patch_size, image_byxc.shape[-1]
        fan_in = p * p * channels
        kernel_init = initializers.xavier_uniform(fan_in, self.width)
        bias_init = initializers.torch_default(fan_in)
        if self.initial == "beit":
            kernel_init, bias_init = initializers.NAMED["beit"], nn.initializers.zeros
        kernel = self.param("kernel", kernel_init, (p, p, channels, self.width))
        bias = self.param("bias", bias_init, (self.width,))
        patches = rearrange(image_byxc, "b (y i) (x j) c -> b (y x) (i j c)", i=p, j=p)
        kernel = kernel.reshape(fan_in, self.width).astype(self.dtype)
        return patches.astype(self.dtype) @ kernel + bias.astype(self.dtype)


class Patches(nn.Module):
    """The image's tokens: one linear map of each patch (REFERENCE §6.1, §10.1)."""

    patch_size: int
    width: int
    dtype: str
    initial: str

    @nn.compact
    def __call__(self, image_byxc: jax.Array, random: Keys | None = None) -> jax.Array:
        del random  # nothing is dropped here
        return PatchEmbed(self.patch_size, self.width, self.dtype, self.initial, name="patch")(
            image_byxc
        )
