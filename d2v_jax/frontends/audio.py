"""A waveform in, tokens of 20 ms out."""

import dataclasses
from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp

from d2v_jax.common.rng import Keys
from d2v_jax.nn import initializers
from d2v_jax.nn.activation import gelu
from d2v_jax.nn.dense import Dense
from d2v_jax.nn.norm import LayerNorm, standardize

ConvLayers = tuple[tuple[int, int, int], ...]  # (width, kernel, stride) each
DTYPE = jnp.float32  # of inputs


@dataclasses.dataclass(frozen=True)
class AudioFrontend:
    conv_layers: ConvLayers
    norm_eps: float
    grid = None  # tokens stand in a row


def build(cfg: AudioFrontend, width: int, dtype: str, init: str) -> nn.Module:
    """The module (wave_bs, keys) -> tokens_btd; its initial values are its own."""
    del init
    return WaveEncoder(cfg.conv_layers, cfg.norm_eps, width, dtype)


def prepare(cfg: AudioFrontend, batch: Mapping[str, jax.Array]) -> jax.Array:
    """int16 crops with `offset` and `scale` [b] -> wave_bs float32.

    Offset and scale standardise the whole utterance a crop comes from (REFERENCE §5.7).
    """
    del cfg
    centred_bs = batch["inputs"].astype(jnp.float32) - batch["offset"][:, None]
    return centred_bs * batch["scale"][:, None]


def token_count(cfg: AudioFrontend, example_shape: tuple[int, ...]) -> int:
    """Frames of a wave of this many samples."""
    return frame_count(example_shape[0], cfg.conv_layers)


def multiply_adds(
    cfg: AudioFrontend, example_shape: tuple[int, ...], width: int
) -> tuple[int, int]:
    """Of matrix products for one wave: forwards, and backwards; samples need no gradient."""
    (samples,), channels, each = example_shape, 1, []
    for out, kernel, stride in cfg.conv_layers:
        samples = (samples - kernel) // stride + 1
        each.append(samples * kernel * channels * out)
        channels = out
    each.append(samples * channels * width)
    return sum(each), 2 * sum(each) - each[0]


def padding(
    cfg: AudioFrontend, wave_bs: jax.Array, lengths_b: jax.Array | None
) -> jax.Array | None:
    """Frames that do not lie wholly in the valid samples [b, t]."""
    if lengths_b is None:
        return None
    frames_b = frame_count(lengths_b, cfg.conv_layers)
    return jnp.arange(token_count(cfg, wave_bs.shape[1:])) >= frames_b[:, None]


def frame_count(samples, conv_layers: ConvLayers):
    """Frames of `samples` valid samples, an int or an array (REFERENCE §1.1); never below 0."""
    for _, kernel, stride in conv_layers:
        samples = (samples - kernel) // stride + 1
    return samples * (samples > 0)


class WaveConv(nn.Module):
    """A strided convolution without padding or bias, affine layer norm over channels, gelu."""

    width: int
    kernel: int
    stride: int
    dtype: str

    @nn.compact
    def __call__(self, x_btc: jax.Array) -> jax.Array:
        channels = x_btc.shape[-1]
        init = initializers.kaiming_normal(channels * self.kernel)
        kernel = self.param("kernel", init, (self.kernel, channels, self.width))
        scale = self.param("scale", nn.initializers.ones, (self.width,))
        bias = self.param("bias", nn.initializers.zeros, (self.width,))
        x_btc = jax.lax.conv_general_dilated(
            x_btc.astype(self.dtype), kernel.astype(self.dtype), (self.stride,), "VALID",
            dimension_numbers=("NWC", "WIO", "NWC"),
        )  # fmt: skip
        x_btc = (standardize(x_btc, -1) * scale + bias).astype(self.dtype)
        return gelu(x_btc)


class WaveEncoder(nn.Module):
    """wave_bs -> tokens_btd: convolutions, layer norm, projection (REFERENCE §1.1, §1.2)."""

    conv_layers: ConvLayers
    norm_eps: float
    width: int
    dtype: str

    def setup(self) -> None:
        self.conv = [
            WaveConv(*layer, self.dtype, name=f"conv_{i:02d}")
            for i, layer in enumerate(self.conv_layers)
        ]
        self.norm = LayerNorm(self.norm_eps, self.dtype)
        init = initializers.torch_default(self.conv_layers[-1][0])
        self.proj = Dense(self.width, dtype=self.dtype, kernel_init=init, bias_init=init)

    def __call__(self, wave_bs: jax.Array, random: Keys | None = None) -> jax.Array:
        del random  # nothing is dropped here
        return self.proj(self.normed(wave_bs))

    def normed(self, wave_bs: jax.Array) -> jax.Array:
        """What is projected, [b, t, c]."""
        x_btc = wave_bs[:, :, None]
        for layer in self.conv:
            x_btc = layer(x_btc)
        return self.norm(x_btc)
