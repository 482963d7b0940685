"""Letters of speech, wherever they are said: connectionist temporal classification (§12.1)."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import optax

from d2v_jax.encoder.objective import Metrics
from d2v_jax.supervised.objective import Supervised


class Objective(Supervised):
    """Labels int32 [b, l] are outputs, -1 behind their end."""

    def troubles(self, record: Mapping[str, float], warm: bool) -> dict[str, str]:
        del warm
        share = record.get("impossible", 0.0)
        if not share:
            return {}
        return {
            "impossible": f"{share:.1%} of the utterances are too short for their letters and cost "
            "nothing; check that transcripts belong to their recordings"
        }

    def terms(
        self, logits: jax.Array, padding_bt: jax.Array | None, labels: jax.Array
    ) -> tuple[jax.Array, Metrics]:
        losses_b, possible_b = ctc_losses(logits, padding_bt, labels, self.cfg.head.blank)
        count = jnp.float32(len(labels))
        return losses_b.sum(), {"impossible": ((~possible_b).sum().astype(jnp.float32), count)}


def ctc_losses(
    logits_btc: jax.Array, padding_bt: jax.Array | None, labels_bl: jax.Array, blank: int
) -> tuple[jax.Array, jax.Array]:
    """-> (-ln P(labels) [b], whether they can be said in so many frames [b]).

    Where they cannot the loss and its gradient are 0. `labels_bl` ends in -1.
    """
    batch, frames = logits_btc.shape[:2]
    if padding_bt is None:
        padding_bt = jnp.zeros((batch, frames), bool)
    nothing_bl = labels_bl < 0
    again_bl = (labels_bl[:, 1:] == labels_bl[:, :-1]) & ~nothing_bl[:, 1:]
    needed_b = (~nothing_bl).sum(1) + again_bl.sum(1)
    possible_b = needed_b <= (~padding_bt).sum(1)
    # Optax looks probabilities up by a matrix product, which accelerators would round.
    with jax.default_matmul_precision("highest"):
        losses_b = optax.ctc_loss(
            logits_btc.astype(jnp.float32),
            padding_bt.astype(jnp.float32),
            jnp.where(nothing_bl, blank, labels_bl),
            nothing_bl.astype(jnp.float32),
            blank_id=blank,
        )
    return jnp.where(possible_b, losses_b, 0), possible_b
