"""One class of several: cross entropy with soft labels (§12.2 to §12.4)."""

import jax
import jax.numpy as jnp

from d2v_jax.common.rng import Keys
from d2v_jax.encoder.objective import Metrics
from d2v_jax.frontends.frontend import Inputs
from d2v_jax.supervised import mixing
from d2v_jax.supervised.objective import Supervised


class Objective(Supervised):
    """Labels int32 [b] count from 0."""

    def mixed(self, inputs: Inputs, labels: jax.Array, random: Keys) -> tuple[Inputs, jax.Array]:
        augment = self.cfg.augment
        labels_bc = mixing.smoothed(labels, self.cfg.head.outputs, augment.smoothing)
        if augment.mixup == 0 and augment.cutmix == 0 and augment.erase == 0:
            return inputs, labels_bc
        values = mixing.erased(inputs.values, augment.erase, random.named("erase"))
        one = mixing.images(values, labels_bc, augment, random.named("mix").all)
        return inputs._replace(values=one.values), one.labels_bc

    def terms(
        self, logits: jax.Array, padding_bt: jax.Array | None, labels: jax.Array
    ) -> tuple[jax.Array, Metrics]:
        del padding_bt
        losses_b = -(labels * jax.nn.log_softmax(logits)).sum(-1)
        right_b = logits.argmax(-1) == labels.argmax(-1)
        count = jnp.float32(len(labels))
        return losses_b.sum(), {"accuracy": (right_b.sum().astype(jnp.float32), count)}
