"""Any number of tags of an example: binary cross entropy of each (§12.5)."""

import jax
import jax.numpy as jnp
import optax

from d2v_jax.common.rng import Keys
from d2v_jax.encoder.objective import Metrics
from d2v_jax.frontends.frontend import Inputs
from d2v_jax.supervised import mixing
from d2v_jax.supervised.objective import Drawn, Supervised


class Objective(Supervised):
    """Labels float32 [b, c] are 1 for the tags an example has."""

    def mixed(self, inputs: Inputs, labels: jax.Array, random: Keys) -> tuple[Inputs, jax.Array]:
        labels_bc = labels.astype(jnp.float32)
        if not self.cfg.augment.waves:
            return inputs, labels_bc
        one = mixing.waves(inputs.values, labels_bc, random.named("mix").all)
        return inputs._replace(values=one.values), one.labels_bc

    def counts(self, drawn: Drawn) -> dict[str, jax.Array]:
        """The tags that examples have, at least one."""
        return {"examples": jnp.maximum(drawn.labels.sum(), 1)}

    def terms(
        self, logits: jax.Array, padding_bt: jax.Array | None, labels: jax.Array
    ) -> tuple[jax.Array, Metrics]:
        del padding_bt
        losses_bc = optax.sigmoid_binary_cross_entropy(logits, labels)
        return losses_bc.sum(), {}
