"""What the student must say: the average of the teacher's last layers, normalised."""

import jax
import jax.numpy as jnp

from d2v_jax.data2vec.config import TargetsConfig
from d2v_jax.nn.block import Layer
from d2v_jax.nn.norm import standardize

AXIS = {"instance": -2, "layer": -1}  # instance: over T per channel; layer: over D per token


def normalize(x_btd: jax.Array, norms: tuple[str, ...]) -> jax.Array:
    """Applies the named norms in order, in float32, without affine, eps 1e-5."""
    for norm in norms:
        x_btd = standardize(x_btd, AXIS[norm])
    return x_btd


def make_targets(layers: list[Layer], prefix_tokens: int, cfg: TargetsConfig) -> jax.Array:
    """-> targets_btd float32 at all positions, hidden and visible (REFERENCE §8.3).

    Prefix tokens are removed before any norm. The sum grows layer by layer, so the K layers
    need not be kept.
    """
    total_btd = jnp.float32(0)
    for block in cfg.blocks:
        layer = layers[block]
        x_btd = layer.ffn if cfg.site == "ffn" else layer.out
        x_btd = x_btd[:, prefix_tokens:].astype(jnp.promote_types(x_btd.dtype, jnp.float32))
        total_btd = total_btd + normalize(x_btd, cfg.layer_norms)
    return normalize(total_btd / len(cfg.blocks), cfg.final_norms)
