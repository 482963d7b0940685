"""A number: squared error (§12.4)."""

import jax
import jax.numpy as jnp

from d2v_jax.encoder.objective import Metrics
from d2v_jax.supervised.objective import Supervised


class Objective(Supervised):
    """Labels float32 [b]; the head has one output."""

    def terms(
        self, logits: jax.Array, padding_bt: jax.Array | None, labels: jax.Array
    ) -> tuple[jax.Array, Metrics]:
        del padding_bt
        errors_b = logits[:, 0] - labels.astype(jnp.float32)
        return jnp.square(errors_b).sum(), {
            "error": (jnp.abs(errors_b).sum(), jnp.float32(len(labels)))
        }
