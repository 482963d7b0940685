"""A waveform in, tokens of 20 ms out."""

import dataclasses
from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp

from d2v_jax.common.checks import require
from d2v_jax.common.fields import anything, positive
from d2v_jax.common.rng import Keys
from d2v_jax.frontends import frontend
from d2v_jax.frontends.frontend import Inputs
from d2v_jax.nn import initializers
from d2v_jax.nn.activation import gelu
from d2v_jax.nn.dense import Dense
from d2v_jax.nn.norm import LayerNorm, layer_norm

ConvLayers = tuple[tuple[int, int, int], ...]  # (width, kernel, stride) each


@dataclasses.dataclass(frozen=True)
class AudioFrontend(frontend.Frontend):
    """Waves at 16 kHz -> frames. Fields: configs/audio.py."""

    conv_layers: tuple[tuple[int, int, int], ...] = anything()
    norm_eps: float = positive()

    def build(self, width: int, dtype: str, init: str) -> nn.Module:
        """The module (wave_bs, keys) -> tokens_btd; its initial values are its own."""
        del init
        return WaveEncoder(self.conv_layers, self.norm_eps, width, dtype)

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
        return frame_count(example_shape[0], self.conv_layers)

    def multiply_adds(self, example_shape: tuple[int, ...], width: int) -> tuple[int, int]:
        """Samples need no gradient."""
        (samples,), channels, each = example_shape, 1, []
        for out, kernel, stride in self.conv_layers:
            samples = (samples - kernel) // stride + 1
            each.append(samples * kernel * channels * out)
            channels = out
        each.append(samples * channels * width)
        return sum(each), 2 * sum(each) - each[0]

    def padding(self, inputs: Inputs) -> jax.Array | None:
        """Frames that do not lie wholly in the valid samples [b, t]."""
        if inputs.lengths_b is None:
            return None
        frames_b = frame_count(inputs.lengths_b, self.conv_layers)
        return jnp.arange(self.token_count(inputs.values.shape[1:])) >= frames_b[:, None]

    def check(self) -> None:
        layers = self.conv_layers
        require(
            len(layers) > 0 and all(number > 0 for layer in layers for number in layer),
            f"frontend.conv_layers={layers} must be positive (width, kernel, stride) triples",
        )


Frontend = AudioFrontend


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
            x_btc.astype(self.dtype),
            kernel.astype(self.dtype),
            (self.stride,),
            "VALID",
            dimension_numbers=("NWC", "WIO", "NWC"),
        )
        return gelu(layer_norm(x_btc, scale, bias, dtype=self.dtype))


class WaveEncoder(nn.Module):
    """wave_bs -> tokens_btd: convolutions, layer norm, projection (REFERENCE §1.1, §1.2)."""

    conv_layers: tuple[tuple[int, int, int], ...] = anything()
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
