"""A product quantizer that learns through the noise it is chosen with (wav2vec 2.0)."""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from d2v_jax.baselines.speech import EXACTLY
from d2v_jax.nn import initializers
from d2v_jax.nn.dense import Dense


class Quantized(NamedTuple):
    """What was chosen for each of n x u vectors, in each of g codebooks of v entries."""

    vectors_nuq: jax.Array
    logits_nugv: jax.Array  # without noise
    soft_nugv: jax.Array  # with noise, at the temperature; what gradients see
    codes_nug: jax.Array  # int32


class Quantizer(nn.Module):
    """x_nuc -> the entry of each codebook that the logits and the noise favour, side by side.

    Forwards a choice, backwards a softmax: (choice - soft) + soft, in that order exactly 0 and 1.
    """

    groups: int
    entries: int
    width: int

    @nn.compact
    def __call__(
        self, x_nuc: jax.Array, noise_nugv: jax.Array | None, temperature: jax.Array | float = 1.0
    ) -> Quantized:
        """Without noise the choice is the largest logit, and the logits learn nothing."""
        count = self.groups * self.entries
        normal = nn.initializers.normal(1.0)
        dense = Dense(count, dtype="float32", kernel_init=normal, precision=EXACTLY, name="logits")
        logits = dense(x_nuc.astype(jnp.float32))
        logits_nugv = logits.reshape(*x_nuc.shape[:2], self.groups, self.entries)
        shape = (self.groups, self.entries, self.width // self.groups)
        entries_gvd = self.param("entries", initializers.uniform(0, 1), shape)
        noisy = logits_nugv if noise_nugv is None else logits_nugv + noise_nugv
        codes_nug = noisy.argmax(-1).astype(jnp.int32)
        weights = jax.nn.one_hot(codes_nug, self.entries)
        soft = jax.nn.softmax(noisy / temperature)
        if noise_nugv is not None:
            weights = (weights - jax.lax.stop_gradient(soft)) + soft
        chosen = jnp.einsum("nugv,gvd->nugd", weights, entries_gvd, precision=EXACTLY)
        return Quantized(chosen.reshape(*x_nuc.shape[:2], -1), logits_nugv, soft, codes_nug)


def noise(keys_n: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Gumbel noise, -log of an exponential draw, for each row from its own key."""
    return jax.vmap(lambda key: -jnp.log(jax.random.exponential(key, shape)))(keys_n)
