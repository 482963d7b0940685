"""Pixels in, tokens out."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange

from d2v_jax.nn import initializers
from d2v_jax.nn.norm import standardize


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
    init: str

    @nn.compact
    def __call__(self, image_byxc: jax.Array) -> jax.Array:
        p, channels = self.patch_size, image_byxc.shape[-1]
        fan_in = p * p * channels
        kernel_init = initializers.xavier_uniform(fan_in, self.width)
        bias_init = initializers.torch_default(fan_in)
        if self.init == "beit":
            kernel_init, bias_init = initializers.NAMED["beit"], nn.initializers.zeros
        kernel = self.param("kernel", kernel_init, (p, p, channels, self.width))
        bias = self.param("bias", bias_init, (self.width,))
        patches = rearrange(image_byxc, "b (y i) (x j) c -> b (y x) (i j c)", i=p, j=p)
        kernel = kernel.reshape(fan_in, self.width).astype(self.dtype)
        return patches.astype(self.dtype) @ kernel + bias.astype(self.dtype)


class ImageFrontend(nn.Module):
    """The image's tokens: one linear map of each patch (REFERENCE §6.1, §10.1)."""

    patch_size: int
    width: int
    dtype: str
    init: str

    @nn.compact
    def __call__(self, image_byxc: jax.Array) -> jax.Array:
        return PatchEmbed(self.patch_size, self.width, self.dtype, self.init, name="patch")(
            image_byxc
        )
