"""How far predictions are from targets, as (sum, count). Divides nothing, logs nothing."""

import math

import jax
import jax.numpy as jnp

from d2v_jax.data2vec.config import LossConfig

Mean = tuple[jax.Array, jax.Array]  # (sum, count), divided only when printed or optimised


def distance(
    predictions: jax.Array, targets: jax.Array, weight: jax.Array, cfg: LossConfig
) -> Mean:
    """Per-token distance, summed over D and scaled; arrays [..., d], `weight` [...] of 0 and 1.

    beta 0 is the squared error without a half; otherwise smooth L1, e²/(2 beta) below beta and
    |e| - beta/2 above. The scale is 1/sqrt(D) unless the recipe sets one (REFERENCE §3.2).
    """
    error = predictions.astype(targets.dtype) - targets
    if cfg.beta == 0:
        per_channel = jnp.square(error)
    else:
        size = jnp.abs(error)
        per_channel = jnp.where(
            size < cfg.beta, jnp.square(error) / (2 * cfg.beta), size - cfg.beta / 2
        )
    width = targets.shape[-1]
    scale = 1 / math.sqrt(width) if cfg.scale is None else cfg.scale
    return (per_channel.sum(-1) * weight).sum() * scale, weight.sum()
