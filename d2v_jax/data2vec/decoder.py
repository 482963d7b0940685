"""From what the student encoded back to a prediction at every hidden place."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from d2v_jax.common import rng
from d2v_jax.data2vec.sections import DecoderConfig
from d2v_jax.encoder import masking
from d2v_jax.frontends.frontend import Grid, grid_shape
from d2v_jax.nn import initializers
from d2v_jax.nn.activation import gelu
from d2v_jax.nn.conv import ConvLayer
from d2v_jax.nn.dense import Dense
from d2v_jax.nn.layout import rows_in_lanes


def fill(x_nvd: jax.Array, mask: masking.Mask, keys_n: jax.Array, noise_std: float) -> jax.Array:
    """Puts visible tokens back in their places and noise at the hidden ones -> [n, t, d].

    The filler is fresh N(0, noise_std²) per element, not learned (REFERENCE §8.2).
    """
    tokens, width = mask.hidden_nt.shape[1], x_nvd.shape[-1]
    noise_ntd = jax.vmap(lambda key: rng.normal(key, (tokens, width)))(keys_n)
    noise_ntd = (noise_std * noise_ntd * mask.hidden_nt[:, :, None]).astype(x_nvd.dtype)
    return masking.scatter(x_nvd, mask.visible_ids_nv, tokens) + noise_ntd


class Decoder(nn.Module):
    """Conv layers over the token grid, then a projection at the hidden places (REFERENCE §1.9).

    Without conv layers it is the head of data2vec 1.0.
    """

    cfg: DecoderConfig
    grid: Grid
    out_width: int
    dtype: str

    @nn.compact
    def __call__(self, x_ntd: jax.Array, hidden_ids_nu: jax.Array) -> jax.Array:
        """-> predictions_nud, float32."""
        cfg = self.cfg
        space = grid_shape(self.grid, x_ntd.shape[1])
        window = (cfg.kernel,) * len(space)
        if cfg.layers:
            lay = rows_in_lanes if cfg.groups > 1 else lambda x: x
            x = lay(x_ntd.reshape(x_ntd.shape[0], *space, -1))
            for i in range(cfg.layers):
                layer = ConvLayer(cfg.width, window, cfg.groups, self.dtype, name=f"conv_{i:02d}")
                y = layer(x)
                x = x + y if cfg.residual and x.shape == y.shape else y
            x_ntd = lay(x).reshape(x.shape[0], math.prod(space), cfg.width)
        x_nud = masking.gather(x_ntd, hidden_ids_nu[:, None])
        widths = (*cfg.hidden, self.out_width)
        for i, width in enumerate(widths):
            if i:
                x_nud = gelu(x_nud)
            x_nud = self._dense(width, x_nud.shape[-1], f"proj_{i:02d}")(x_nud)
        return x_nud.astype(jnp.promote_types(self.dtype, jnp.float32))

    def _dense(self, width: int, fan_in: int, name: str) -> Dense:
        if self.cfg.init == "torch":
            kernel_init = bias_init = initializers.torch_default(fan_in)
        else:
            kernel_init, bias_init = initializers.NAMED[self.cfg.init], nn.initializers.zeros
        return Dense(
            width, dtype=self.dtype, kernel_init=kernel_init, bias_init=bias_init, name=name
        )
