"""Pixels in, tokens out."""

import dataclasses
import math
from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange

from d2v_jax.common.checks import require
from d2v_jax.common.fields import anything, one_of, positive
from d2v_jax.common.rng import Keys
from d2v_jax.frontends import frontend
from d2v_jax.frontends.frontend import Inputs
from d2v_jax.nn import initializers
from d2v_jax.nn.bias import add_bias
from d2v_jax.nn.norm import standardize


@dataclasses.dataclass(frozen=True)
class ImageFrontend(frontend.Frontend):
    """Pixels -> patches. Fields: configs/image.py; size and channels are those of `data`."""

    patch_size: int = positive()
    image_size: int = positive()
    channels: int = anything()
    normalize: str = one_of("dataset", "crop")
    mean: tuple[float, ...] = anything()
    std: tuple[float, ...] = anything()

    @property
    def grid(self) -> tuple[int, int]:
        """Patches along each side."""
        side = self.image_size // self.patch_size
        return side, side

    def build(self, width: int, dtype: str, init: str) -> nn.Module:
        """The module (image_byxc, keys) -> tokens_btd."""
        return Patches(self.patch_size, width, dtype, init)

    def prepare(self, batch: Mapping[str, jax.Array]) -> Inputs:
        """uint8 pixels -> image_byxc float32."""
        return Inputs(normalize(batch["inputs"], self.normalize, self.mean, self.std))

    def token_count(self, example_shape: tuple[int, ...]) -> int:
        """Patches of a picture (y, x, c)."""
        return math.prod(side // self.patch_size for side in example_shape[:2])

    def multiply_adds(self, example_shape: tuple[int, ...], width: int) -> tuple[int, int]:
        """Pixels need no gradient."""
        patches = self.token_count(example_shape)
        once = patches * self.patch_size**2 * example_shape[2] * width
        return once, once

    def check(self) -> None:
        size, patch, channels = self.image_size, self.patch_size, self.channels
        require(
            size % patch == 0,
            f"data.image_size={size} is not a multiple of frontend.patch_size={patch}",
        )
        for name, values in (("mean", self.mean), ("std", self.std)):
            require(
                self.normalize != "dataset" or len(values) == channels,
                f"frontend.{name}={values} must have data.channels={channels} entries",
            )
        require(all(s > 0 for s in self.std), f"frontend.std={self.std} must be positive")


Frontend = ImageFrontend


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
        return add_bias(patches.astype(self.dtype) @ kernel, bias.astype(self.dtype))


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
