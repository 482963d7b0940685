"""The model's smaller parts: positions, prefix tokens, the embedding of hidden tokens."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from d2v_jax.encoder.sections import PositionsConfig, TrunkConfig
from d2v_jax.frontends.frontend import Grid, grid_shape
from d2v_jax.nn import initializers, positions

# By `trunk.init` (REFERENCE §5.2, §6.2, §10.2).
PREFIX_INIT = {
    "bert": nn.initializers.normal(1.0),
    "beit": initializers.NAMED["beit"],
    "xavier": nn.initializers.normal(0.02),
}
MASK_INIT = {
    "bert": initializers.uniform(0, 1),
    "beit": initializers.NAMED["beit"],
    "xavier": nn.initializers.normal(0.02),
}


class PrefixTokens(nn.Module):
    """Learned tokens in front of the others (REFERENCE §6.1; T17)."""

    count: int
    initial: initializers.Initializer

    @nn.compact
    def __call__(self, x_ntd: jax.Array) -> jax.Array:
        shape = (self.count, x_ntd.shape[-1])
        tokens_pd = self.param("tokens", self.initial, shape)
        tokens_npd = jnp.broadcast_to(tokens_pd, (x_ntd.shape[0], *shape)).astype(x_ntd.dtype)
        return jnp.concatenate([tokens_npd, x_ntd], axis=1)


class MaskEmbedding(nn.Module):
    """A learned vector in the place of hidden tokens (REFERENCE §5.3, §6.1)."""

    initial: initializers.Initializer

    @nn.compact
    def __call__(self, x_ntd: jax.Array, hidden_nt: jax.Array) -> jax.Array:
        embedding_d = self.param("embedding", self.initial, x_ntd.shape[-1:])
        return jnp.where(hidden_nt[:, :, None], embedding_d.astype(x_ntd.dtype), x_ntd)


class Positions(nn.Module):
    """What tells the encoder where tokens are, beside a text frontend's own."""

    cfg: PositionsConfig
    trunk: TrunkConfig
    grid: Grid

    def setup(self) -> None:
        cfg, trunk = self.cfg, self.trunk
        if cfg.add == "conv":
            self.conv = positions.ConvPositions(
                cfg.conv_layers, cfg.conv_kernel, cfg.conv_groups, trunk.dtype
            )
            nn.share_scope(self, self.conv)
        if cfg.add == "normed_conv":
            self.conv = positions.NormedConvPositions(
                cfg.conv_kernel, cfg.conv_groups, trunk.dtype, name="normed_conv"
            )
        match cfg.bias:
            case "alibi":
                self.alibi_scale = self.param("alibi_scale", nn.initializers.ones, (trunk.heads,))
            case "relative":
                self.relative = positions.RelativeBias(self.grid, trunk.heads)

    def __call__(
        self, x_btd: jax.Array, padding_bt: jax.Array | None, hidden_nt: jax.Array | None
    ) -> jax.Array:
        """x_btd with positions; [n, t, d] where they depend on what is hidden (zeroed) there."""
        zero = self.cfg.zero_padding
        if padding_bt is not None and zero != "never":
            x_btd = jnp.where(padding_bt[:, :, None], 0, x_btd)
        if self.cfg.add == "sincos":
            shape = grid_shape(self.grid, x_btd.shape[1])
            codes_td = positions.sincos(shape, self.trunk.width)
            return x_btd + codes_td.astype(x_btd.dtype)
        if self.cfg.add == "none":
            return x_btd
        seen_ntd = x_btd
        if hidden_nt is not None:
            views = hidden_nt.shape[0] // x_btd.shape[0]
            x_btd = jnp.repeat(x_btd, views, 0)
            padding_bt = None if padding_bt is None else jnp.repeat(padding_bt, views, 0)
            seen_ntd = jnp.where(hidden_nt[:, :, None], 0, x_btd)
        return x_btd + self.conv(seen_ntd, padding_bt if zero == "each_layer" else None)

    def bias(self, ids_nt: jax.Array) -> jax.Array | None:
        """What attention adds to its logits, prefix tokens included; one row may be for all."""
        match self.cfg.bias:
            case "alibi":
                return positions.alibi(self.alibi_scale, ids_nt, self.trunk.prefix_tokens)
            case "relative":
                return self.relative()[None]
        return None
