"""One recipe's question and its mark: targets from the teacher, loss and health of an answer."""

import jax
import jax.numpy as jnp

from d2v_jax.common.trees import Tree
from d2v_jax.data2vec import loss, teacher
from d2v_jax.data2vec.loss import Mean
from d2v_jax.data2vec.model import Inputs, Model, Predictions, Tokens
from d2v_jax.data2vec.targets import make_targets
from d2v_jax.encoder import masking
from d2v_jax.encoder.masking import Mask


def teacher_targets(
    model: Model, student: Tree, teacher_tree: Tree, inputs: Inputs, tokens: Tokens, mask: Mask
) -> jax.Array:
    """What the teacher makes of the whole input -> targets_btd, without gradient or dropout.

    It is shown the student's tokens, or the inputs through its own or borrowed frontend.
    Gradients are stopped where numbers enter: at the parameters and at the tokens.
    """
    params = teacher.overlay(student, teacher_tree)
    match model.cfg.teacher.sees:
        case "inputs":
            tokens = model.tokens(params, inputs)
        case "hidden":
            tokens = model.tokens(params, model.hidden_inputs(inputs, mask))
    layers = model.contextualize(params, jax.lax.stop_gradient(tokens)).trunk.layers
    return make_targets(layers, model.cfg.trunk.prefix_tokens, model.cfg.targets)


def hidden_targets(targets_btd: jax.Array, mask: Mask) -> jax.Array:
    """Each view's targets at its hidden places -> [n, u, d]."""
    batch = targets_btd.shape[0]
    ids_bmu = mask.hidden_ids_nu.reshape(batch, -1, mask.hidden_ids_nu.shape[1])
    return masking.gather(targets_btd, ids_bmu)


def counts(model: Model, mask: Mask) -> dict[str, jax.Array]:
    """What each term of the loss is divided by: a sum over the whole batch (T23)."""
    whole = {"regression": mask.weight_nu.sum()}
    if model.cfg.loss.cls_weight:
        whole["cls"] = jnp.float32(mask.hidden_nt.shape[0])
    return whole


def losses(
    model: Model,
    predictions: Predictions,
    targets_btd: jax.Array,
    targets_nud: jax.Array,
    mask: Mask,
    whole: dict[str, jax.Array],
) -> tuple[jax.Array, dict[str, Mean]]:
    """The scalar to minimise and its terms as (sum, count) (REFERENCE §3.2, T21).

    `whole` holds the `counts` of the whole batch, of which these may be a part: the scalars of
    all parts add up.
    """
    cfg = model.cfg.loss
    terms = {"regression": loss.distance(predictions.hidden_nud, targets_nud, mask.weight_nu, cfg)}
    weights = {"regression": 1.0}
    if cfg.cls_weight:
        views = predictions.prefix_npd.shape[0] // targets_btd.shape[0]
        mean_nd = jnp.repeat(targets_btd.mean(1), views, axis=0)
        every_n = jnp.ones(len(mean_nd))
        terms["cls"] = loss.distance(predictions.prefix_npd[:, -1], mean_nd, every_n, cfg)
        weights["cls"] = cfg.cls_weight
    total = sum(weights[name] * terms[name][0] / whole[name] for name in terms)
    return total, terms


def health(
    predictions_nud: jax.Array,
    targets_nud: jax.Array,
    targets_btd: jax.Array,
    mask: Mask,
    padding_bt: jax.Array | None,
) -> dict[str, Mean]:
    """Is the student still learning something? All as (sum, count).

    target_std, prediction_std: mean over channels of the std over hidden places; near zero
    means collapse (REFERENCE §3.2, monitors). position_share: how much of the targets'
    variance the position alone explains; near one means that every example has the same
    targets, and the features are worthless though the loss is low.
    """
    one = jnp.float32(1)
    return {
        "target_std": (channel_std(targets_nud, mask.weight_nu), one),
        "prediction_std": (channel_std(predictions_nud, mask.weight_nu), one),
        "position_share": position_share(targets_btd, padding_bt),
        "hidden_share": (mask.hidden_nt.mean(dtype=jnp.float32), one),
    }


def channel_std(x: jax.Array, weight: jax.Array) -> jax.Array:
    """Mean over channels of sqrt(unbiased variance over everything else + 1e-6)."""
    flat, weight = x.reshape(-1, x.shape[-1]), weight.reshape(-1, 1)
    count = weight.sum()
    mean = (flat * weight).sum(0) / count
    variance = (jnp.square(flat - mean) * weight).sum(0) / jnp.maximum(count - 1, 1)
    return jnp.sqrt(variance + 1e-6).mean()


def position_share(targets_btd: jax.Array, padding_bt: jax.Array | None = None) -> Mean:
    """1 - variance across examples at a fixed position / total variance; count 0 for one example.

    Both variances are unbiased under "no effect of position", so the share is 0 on average
    for targets that ignore position, whatever the batch size. Padding does not count.
    """
    shape = targets_btd.shape[:2]
    weight = jnp.ones(shape) if padding_bt is None else (~padding_bt).astype(jnp.float32)
    weight_bt1 = weight[:, :, None]
    per_position_t1 = weight_bt1.sum(0)
    count = weight.sum()
    mean_td = (targets_btd * weight_bt1).sum(0) / jnp.maximum(per_position_t1, 1)
    mean_d = (targets_btd * weight_bt1).sum((0, 1)) / jnp.maximum(count, 1)
    freedom = jnp.maximum(per_position_t1 - 1, 0).sum()
    within = (jnp.square(targets_btd - mean_td) * weight_bt1).sum() / jnp.maximum(freedom, 1)
    total = (jnp.square(targets_btd - mean_d) * weight_bt1).sum() / jnp.maximum(count - 1, 1)
    known = (freedom > 0).astype(jnp.float32)
    return known * (1 - within / jnp.maximum(total, 1e-12)), known
