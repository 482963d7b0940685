"""How far predictions are from targets, as (sum, count)."""

import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from d2v_jax.data2vec.model import Predictions
from d2v_jax.data2vec.sections import LossConfig
from d2v_jax.encoder.masking import Mask
from d2v_jax.encoder.objective import Mean


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


def counts(cfg: LossConfig, mask: Mask) -> dict[str, jax.Array]:
    """What each term of the loss is divided by: a sum over the whole batch (T23)."""
    whole = {"regression": mask.weight_nu.sum()}
    if cfg.cls_weight:
        whole["cls"] = jnp.float32(mask.hidden_nt.shape[0])
    return whole


def losses(
    cfg: LossConfig,
    predictions: Predictions,
    targets_btd: jax.Array,
    targets_nud: jax.Array,
    mask: Mask,
    whole: Mapping[str, jax.Array],
) -> tuple[jax.Array, dict[str, Mean]]:
    """The scalar to minimise and its terms as (sum, count) (REFERENCE §3.2, T21).

    `whole` holds the `counts` of the whole batch, of which these may be a part: the scalars of
    all parts add up.
    """
    terms = {"regression": distance(predictions.hidden_nud, targets_nud, mask.weight_nu, cfg)}
    weights = {"regression": 1.0}
    if cfg.cls_weight:
        views = predictions.prefix_npd.shape[0] // targets_btd.shape[0]
        mean_nd = jnp.repeat(targets_btd.mean(1), views, axis=0)
        every_n = jnp.ones(len(mean_nd))
        terms["cls"] = distance(predictions.prefix_npd[:, -1], mean_nd, every_n, cfg)
        weights["cls"] = cfg.cls_weight
    total = sum(weights[name] * terms[name][0] / whole[name] for name in terms)
    return total, terms
