"""A waveform in, tokens of 20 ms out."""

import dataclasses
from collections.abc import Mapping, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from d2v_jax.common.checks import require
from d2v_jax.common.fields import anything, not_negative, one_of, positive
from d2v_jax.common.rng import Keys
from d2v_jax.frontends import frontend
from d2v_jax.frontends.frontend import Inputs
from d2v_jax.nn import initializers
from d2v_jax.nn.activation import gelu
from d2v_jax.nn.bias import add_bias
from d2v_jax.nn.conv import strided_conv
from d2v_jax.nn.dense import Dense
from d2v_jax.nn.layout import LANES, local, platform
from d2v_jax.nn.norm import EPS, LayerNorm, instance_norm, layer_norm

ConvLayers = tuple[tuple[int, int, int], ...]  # (width, kernel, stride) each


@dataclasses.dataclass(frozen=True)
class AudioFrontend(frontend.Frontend):
    """Waves at 16 kHz -> frames. Fields: configs/audio.py."""

    conv_layers: tuple[tuple[int, int, int], ...] = anything()
    conv_style: str = one_of("wav2vec", "cpc")
    conv_norm: str = one_of("each", "first")
    conv_bias: bool = anything()
    norm_eps: float = positive()
    gradient: float = not_negative()
    padded_frames: str = one_of("partly", "wholly")

    def build(self, width: int, dtype: str, init: str) -> nn.Module:
        """The module (wave_bs, keys) -> tokens_btd; its initial values are its own."""
        del init
        if self.conv_style == "cpc":
            return PaddedWaveEncoder(self.conv_layers, dtype)
        return WaveEncoder(self, width, dtype)

    def apply(self, module: nn.Module, inputs: Inputs, random: Keys | None) -> jax.Array:
        if self.conv_style == "cpc":
            return module(inputs.values, random, inputs.lengths_b)
        return super().apply(module, inputs, random)

    def prepare(self, batch: Mapping[str, jax.Array]) -> Inputs:
        """int16 crops with `offset` and `scale` [b] -> wave_bs float32.

        Offset and scale standardise the whole utterance a crop comes from (REFERENCE §5.7). What
        is padded says how long it is: `length` [b].
        """
        centred_bs = batch["inputs"].astype(jnp.float32) - batch["offset"][:, None]
        wave_bs, lengths_b = centred_bs * batch["scale"][:, None], batch.get("length")
        if lengths_b is not None:
            wave_bs = jnp.where(jnp.arange(wave_bs.shape[1]) < lengths_b[:, None], wave_bs, 0)
        return Inputs(wave_bs, lengths_b)

    def token_count(self, example_shape: tuple[int, ...]) -> int:
        """Frames of a wave of this many samples."""
        return frame_count(example_shape[0], self.conv_layers, self.conv_style)

    @property
    def channels(self) -> int:
        """Of what the convolutions give."""
        return self.conv_layers[-1][0]

    def multiply_adds(self, example_shape: tuple[int, ...], width: int) -> tuple[int, int]:
        """Samples need no gradient."""
        (samples,), channels, each = example_shape, 1, []
        for out, kernel, stride in self.conv_layers:
            samples = shorter(samples, kernel, stride, self.conv_style)
            each.append(samples * kernel * channels * out)
            channels = out
        if self.conv_style == "wav2vec":
            each.append(samples * channels * width)
        return sum(each), 2 * sum(each) - each[0]

    def padding(self, inputs: Inputs) -> jax.Array | None:
        """Frames that do not lie wholly in the valid samples [b, t], or (HuBERT) not at all."""
        return self.padding_of(inputs, self.token_count(inputs.values.shape[1:]))

    def padding_of(self, inputs: Inputs, frames: int) -> jax.Array | None:
        """The same of only so many frames."""
        if inputs.lengths_b is None:
            return None
        if self.padded_frames == "wholly":
            # HuBERT cuts the samples into as many equal parts as there are frames.
            part = inputs.values.shape[1] // frames
            frames_b = -(-inputs.lengths_b // part)
        else:
            frames_b = frame_count(inputs.lengths_b, self.conv_layers, self.conv_style)
        return jnp.arange(frames) >= frames_b[:, None]

    def check(self) -> None:
        layers = self.conv_layers
        require(
            len(layers) > 0 and all(number > 0 for layer in layers for number in layer),
            f"frontend.conv_layers={layers} must be positive (width, kernel, stride) triples",
        )


Frontend = AudioFrontend


def frame_count(samples, conv_layers: ConvLayers, style: str = "wav2vec"):
    """Frames of `samples` valid samples, an int or an array (REFERENCE §1.1); never below 0."""
    for _, kernel, stride in conv_layers:
        samples = shorter(samples, kernel, stride, style)
    return samples * (samples > 0)


def shorter(samples, kernel: int, stride: int, style: str):
    """What one convolution leaves of so many places, an int or an array."""
    ends = padding_of(kernel, stride) if style == "cpc" else 0
    return (samples + 2 * ends - kernel) // stride + 1


def padding_of(kernel: int, stride: int) -> int:
    """Zeros at each end, "cpc"."""
    return -(-(kernel - stride) // 2)


class WaveConv(nn.Module):
    """A strided convolution without padding, a norm, gelu.

    `norm`: affine over "channels" (each frame by itself), over "time" (each channel by itself,
    padding included, as in wav2vec 2.0 base), or "none".
    """

    width: int
    kernel: int
    stride: int
    norm: str
    bias: bool
    dtype: str

    @nn.compact
    def __call__(self, x_btc: jax.Array) -> jax.Array:
        channels = x_btc.shape[-1]
        init = initializers.kaiming_normal(channels * self.kernel)
        kernel = self.param("kernel", init, (self.kernel, channels, self.width))
        x_btc = strided_conv(x_btc.astype(self.dtype), kernel.astype(self.dtype), self.stride)
        if self.bias:
            fan_in = initializers.torch_default(channels * self.kernel)
            conv_bias = self.param("conv_bias", fan_in, (self.width,)).astype(self.dtype)
            x_btc = add_bias(x_btc, conv_bias)
        if self.norm == "none":
            return gelu(x_btc)
        scale = self.param("scale", nn.initializers.ones, (self.width,))
        bias = self.param("bias", nn.initializers.zeros, (self.width,))
        norm = instance_norm if self.norm == "time" else layer_norm
        return gelu(norm(x_btc, scale, bias, dtype=self.dtype))


def in_segments(layers: Sequence[WaveConv], x_btc: jax.Array) -> jax.Array:
    """One layer after the other, of which each place sees only some of those before it.

    XLA:TPU convolves few long rows by cutting and padding the output of every layer. There each
    row is cut once, before the first, into as many segments as fill `LANES` rows; what two of
    them see both is computed twice.
    """
    rows, places, _ = x_btc.shape
    stride, seen = 1, 1  # of one frame, in places
    for layer in reversed(layers):
        stride, seen = stride * layer.stride, (seen - 1) * layer.stride + layer.kernel
    frames = (places - seen) // stride + 1
    segments = min(LANES // local(rows), frames) if platform() == "tpu" else 1
    if segments > 1:
        each = -(-frames // segments)
        x_btc = segmented(x_btc, segments, each * stride, max(seen - stride, 0))
    for layer in layers:
        x_btc = layer(x_btc)
    return x_btc.reshape(rows, -1, x_btc.shape[-1])[:, :frames]


def segmented(x_btc: jax.Array, segments: int, length: int, shared: int) -> jax.Array:
    """[b, t, c] -> [b * segments, length + shared, c], zeros behind the end."""
    (b, t, c), whole = x_btc.shape, (segments + 1) * length
    x_btc = jnp.pad(x_btc, ((0, 0), (0, max(whole - t, 0)), (0, 0)))[:, :whole]
    x_bslc = x_btc.reshape(b, segments + 1, length, c)
    x_bslc = jnp.concatenate([x_bslc[:, :-1], x_bslc[:, 1:, :shared]], 2)
    return x_bslc.reshape(b * segments, length + shared, c)


class WaveEncoder(nn.Module):
    """wave_bs -> tokens_btd: convolutions, layer norm, projection (REFERENCE §1.1, §1.2)."""

    cfg: AudioFrontend
    width: int
    dtype: str

    def setup(self) -> None:
        cfg = self.cfg
        norms = {"each": ("channels", "channels"), "first": ("time", "none")}[cfg.conv_norm]
        self.conv = [
            WaveConv(*layer, norms[i > 0], cfg.conv_bias, self.dtype, name=f"conv_{i:02d}")
            for i, layer in enumerate(cfg.conv_layers)
        ]
        self.norm = LayerNorm(cfg.norm_eps, self.dtype)
        init = initializers.torch_default(cfg.conv_layers[-1][0])
        self.proj = Dense(self.width, dtype=self.dtype, kernel_init=init, bias_init=init)

    def __call__(self, wave_bs: jax.Array, random: Keys | None = None) -> jax.Array:
        del random  # nothing is dropped here
        return self.proj(self.normed(wave_bs))

    def normed(self, wave_bs: jax.Array) -> jax.Array:
        """What is projected, [b, t, c]."""
        return self.norm(self.convolved(wave_bs))

    def convolved(self, wave_bs: jax.Array) -> jax.Array:
        """What the convolutions give, [b, t, c]; they learn from it at the rate `gradient`."""
        x_btc, factor = wave_bs[:, :, None], self.cfg.gradient
        over_time = sum(layer.norm == "time" for layer in self.conv)  # the first, if any
        for layer in self.conv[:over_time]:
            x_btc = layer(x_btc)
        x_btc = in_segments(self.conv[over_time:], x_btc)
        if factor == 1:
            return x_btc
        held_btc = jax.lax.stop_gradient(x_btc)
        return held_btc + (x_btc - held_btc) * jnp.asarray(factor, x_btc.dtype)


class PaddedWaveEncoder(nn.Module):
    """wave_bs -> tokens_btc as in contrastive predictive coding: what the convolutions give.

    Zeros stand at both ends, so that a layer of stride s makes of s t places t. What is padded
    becomes zero behind each layer, as if the wave ended there.
    """

    conv_layers: tuple[tuple[int, int, int], ...]
    dtype: str

    def setup(self) -> None:
        self.conv = [
            PaddedWaveConv(*layer, self.dtype, name=f"conv_{i:02d}")
            for i, layer in enumerate(self.conv_layers)
        ]

    def __call__(
        self, wave_bs: jax.Array, random: Keys | None = None, lengths_b: jax.Array | None = None
    ) -> jax.Array:
        del random  # nothing is dropped here
        return self.layers(wave_bs, lengths_b)[-1]

    def layers(self, wave_bs: jax.Array, lengths_b: jax.Array | None = None) -> list[jax.Array]:
        """What each layer gives, [b, t, c]."""
        x_btc, found = wave_bs[:, :, None], []
        for (_, kernel, stride), conv in zip(self.conv_layers, self.conv, strict=True):
            x_btc = conv(x_btc)
            if lengths_b is not None:
                lengths_b = shorter(lengths_b, kernel, stride, "cpc")
                there_bt = jnp.arange(x_btc.shape[1]) < lengths_b[:, None]
                x_btc = jnp.where(there_bt[:, :, None], x_btc, 0)
            found.append(x_btc)
        return found


class PaddedWaveConv(nn.Module):
    """A strided convolution between zeros, a norm over channels by unbiased variance, ReLU."""

    width: int
    kernel: int
    stride: int
    dtype: str

    @nn.compact
    def __call__(self, x_btc: jax.Array) -> jax.Array:
        channels, ends = x_btc.shape[-1], padding_of(self.kernel, self.stride)
        init = initializers.torch_default(channels * self.kernel)
        kernel = self.param("kernel", init, (self.kernel, channels, self.width))
        x_btc = strided_conv(x_btc.astype(self.dtype), kernel.astype(self.dtype), self.stride, ends)
        conv_bias = self.param("conv_bias", init, (self.width,))
        scale = self.param("scale", nn.initializers.ones, (self.width,))
        bias = self.param("bias", nn.initializers.zeros, (self.width,))
        x_btc = add_bias(x_btc.astype(jnp.float32), conv_bias)
        centred_btc = x_btc - x_btc.mean(-1, keepdims=True)
        variance_bt1 = jnp.square(centred_btc).sum(-1, keepdims=True) / (self.width - 1)
        x_btc = centred_btc * jax.lax.rsqrt(variance_bt1 + EPS) * scale + bias
        return jax.nn.relu(x_btc).astype(self.dtype)
