"""A waveform in, tokens of 20 ms out."""

import flax.linen as nn
import jax

from d2v_jax.nn import initializers
from d2v_jax.nn.norm import LayerNorm, standardize

ConvLayers = tuple[tuple[int, int, int], ...]  # (width, kernel, stride) each


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
        return jax.nn.gelu(x_btc, approximate=False)


class AudioFrontend(nn.Module):
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
        self.proj = nn.Dense(self.width, dtype=self.dtype, kernel_init=init, bias_init=init)

    def __call__(self, wave_bs: jax.Array) -> jax.Array:
        return self.proj(self.normed(wave_bs))

    def normed(self, wave_bs: jax.Array) -> jax.Array:
        """What is projected, [b, t, c]."""
        x_btc = wave_bs[:, :, None]
        for layer in self.conv:
            x_btc = layer(x_btc)
        return self.norm(x_btc)
