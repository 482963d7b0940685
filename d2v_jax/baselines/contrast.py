"""The true one among others: which negatives, how near, and how many codes are in use."""

import jax
import jax.numpy as jnp

from d2v_jax.baselines import speech

IMPOSSIBLE = -1e9  # the logit of a negative that is no other


def draw_negatives(keys_n: jax.Array, counts_n: jax.Array, places: int, each: int) -> jax.Array:
    """[n, places, each] int32: for each hidden frame others of its row, uniform, with replacement.

    Numbers count the hidden frames of the row, of which there are `counts_n`, never itself.
    """

    def one(key: jax.Array, count: jax.Array) -> jax.Array:
        others = jnp.maximum(count - 1, 1)
        drawn = jax.random.randint(key, (places, each), 0, others)
        return drawn + (drawn >= jnp.arange(places)[:, None])

    return jax.vmap(one)(keys_n, counts_n)


def logits(cosines_nuu: jax.Array, codes_nug: jax.Array, negatives_nuk: jax.Array) -> jax.Array:
    """[n, u, 1 + k]: similarity of each prediction with its own target, then with the negatives.

    All pairs of a row are compared once, and those that were drawn picked. A negative of the same
    entries is no negative: that is decided by codes, as vectors may differ by rounding.
    """
    own_nu = jnp.diagonal(cosines_nuu, axis1=1, axis2=2)
    negatives_nuk = jnp.minimum(negatives_nuk, cosines_nuu.shape[-1] - 1)
    others_nuk = jnp.take_along_axis(cosines_nuu, negatives_nuk, -1)
    same_nuk = same_codes(codes_nug, negatives_nuk)
    return jnp.concatenate([own_nu[..., None], jnp.where(same_nuk, IMPOSSIBLE, others_nuk)], -1)


def same_codes(codes_nug: jax.Array, negatives_nuk: jax.Array) -> jax.Array:
    """Whether a negative [n, u, k] is of the same entries as the frame it is for."""
    same_nuu = (codes_nug[:, :, None] == codes_nug[:, None]).all(-1)
    return jnp.take_along_axis(same_nuu, negatives_nuk, -1)


def perplexities(logits_nugv: jax.Array, weight_nu: jax.Array) -> tuple[jax.Array, jax.Array]:
    """How many entries are in use, summed over codebooks: by probability, and by choice.

    Of the logits without noise and temperature, over all hidden frames.
    """
    logits, weight = logits_nugv, weight_nu[:, :, None, None] / weight_nu.sum()
    soft_gv = (jax.nn.softmax(logits) * weight).sum((0, 1))
    hard_gv = (jax.nn.one_hot(logits.argmax(-1), logits.shape[-1]) * weight).sum((0, 1))
    return speech.perplexity(soft_gv).sum(), speech.perplexity(hard_gv).sum()
