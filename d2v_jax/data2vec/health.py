"""Is the student still learning something? Monitors, and what to say when it is not."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from d2v_jax.encoder.masking import Mask
from d2v_jax.encoder.objective import Mean


def health(
    predictions_nud: jax.Array,
    targets_nud: jax.Array,
    targets_btd: jax.Array,
    mask: Mask,
    padding_bt: jax.Array | None,
) -> dict[str, Mean]:
    """All as (sum, count).

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


def troubles(record: Mapping[str, float], warm: bool) -> dict[str, str]:
    """What a record of a run shows, by name: collapse, or targets that are positions only.

    Before the warm-up is over a student may still answer the same everywhere.
    """
    found = {}
    if record["target_std"] < 0.1:
        found["targets"] = (
            f"the targets hardly vary (std {record['target_std']:.3f}): the teacher is "
            "collapsing. Lower optimizer.learning_rate or raise teacher.decay_start."
        )
    if warm and record["prediction_std"] < 0.01:
        found["predictions"] = (
            f"the predictions hardly vary (std {record['prediction_std']:.4f}): the student "
            "answers the same everywhere. Lower optimizer.learning_rate or lengthen the "
            "warm-up."
        )
    if (share := record.get("position_share", 0.0)) > 0.9:
        found["positions"] = (
            f"{100 * share:.0f} % of the targets' variance is explained by position alone: all "
            "examples have nearly the same targets, and a low loss means nothing. Use longer or "
            "more varied examples (images: frontend.normalize=crop, data.crop_scale) or a slower "
            "teacher (teacher.decay_start nearer to 1)."
        )
    return found
