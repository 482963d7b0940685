"""One recipe's question and its mark: targets from the teacher, loss and health of an answer."""

import jax
import jax.numpy as jnp

from d2v_jax.common.trees import Tree
from d2v_jax.data2vec import loss, masking, teacher
from d2v_jax.data2vec.loss import Mean
from d2v_jax.data2vec.model import Model, Predictions
from d2v_jax.data2vec.targets import make_targets


def teacher_targets(
    model: Model, student: Tree, teacher_tree: Tree, inputs: jax.Array, tokens_btd: jax.Array
) -> jax.Array:
    """What the teacher makes of the whole input -> targets_btd, without gradient.

    A teacher that owns a frontend sees the input through it; any other is given the student's
    tokens. Gradients are stopped where numbers enter: at the parameters and at the tokens.
    """
    params = teacher.overlay(student, teacher_tree)
    if "frontend" in teacher_tree:
        tokens_btd = model.tokens(params, inputs)
    layers = model.contextualize(params, jax.lax.stop_gradient(tokens_btd)).trunk
    return make_targets(layers, model.cfg.trunk.prefix_tokens, model.cfg.targets)


def hidden_targets(targets_btd: jax.Array, mask: masking.Mask) -> jax.Array:
    """Each view's targets at its hidden places -> [n, u, d]."""
    batch = targets_btd.shape[0]
    ids_bmu = mask.hidden_ids_nu.reshape(batch, -1, mask.hidden_ids_nu.shape[1])
    return masking.gather(targets_btd, ids_bmu)


def losses(
    model: Model, predictions: Predictions, targets_btd: jax.Array, targets_nud: jax.Array
) -> tuple[jax.Array, dict[str, Mean]]:
    """The scalar to minimise and its terms as (sum, count) (REFERENCE §3.2, T21)."""
    cfg = model.cfg.loss
    terms = {"regression": loss.distance(predictions.hidden_nud, targets_nud, cfg)}
    total = terms["regression"][0] / terms["regression"][1]
    if cfg.cls_weight:
        views = predictions.prefix_npd.shape[0] // targets_btd.shape[0]
        mean_nd = jnp.repeat(targets_btd.mean(1), views, axis=0)
        terms["cls"] = loss.distance(predictions.prefix_npd[:, -1], mean_nd, cfg)
        total = total + cfg.cls_weight * terms["cls"][0] / terms["cls"][1]
    return total, terms


def health(
    predictions_nud: jax.Array, targets_nud: jax.Array, targets_btd: jax.Array
) -> dict[str, Mean]:
    """Is the student still learning something? All as (sum, count).

    target_std, prediction_std: mean over channels of the std over hidden places; near zero
    means collapse (REFERENCE §3.2, monitors). position_share: how much of the targets'
    variance the position alone explains; near one means that every example has the same
    targets, and the features are worthless though the loss is low.
    """
    one = jnp.float32(1)
    return {
        "target_std": (channel_std(targets_nud), one),
        "prediction_std": (channel_std(predictions_nud), one),
        "position_share": position_share(targets_btd),
    }


def channel_std(x: jax.Array) -> jax.Array:
    """Mean over channels of sqrt(unbiased variance over everything else + 1e-6)."""
    flat = x.reshape(-1, x.shape[-1])
    return jnp.sqrt(flat.var(0, ddof=1) + 1e-6).mean()


def position_share(targets_btd: jax.Array) -> Mean:
    """1 - variance across examples at a fixed position / total variance; count 0 for one example.

    Both variances are unbiased under "no effect of position", so the share is 0 on average
    for targets that ignore position, whatever the batch size.
    """
    batch, tokens, _ = targets_btd.shape
    if batch == 1:
        return jnp.float32(0), jnp.float32(0)
    within = jnp.square(targets_btd - targets_btd.mean(0)).sum() / (tokens * (batch - 1))
    total = jnp.square(targets_btd - targets_btd.mean((0, 1))).sum() / (tokens * batch - 1)
    return 1 - within / jnp.maximum(total, 1e-12), jnp.float32(1)
