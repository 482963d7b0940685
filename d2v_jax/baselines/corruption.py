"""Which tokens of a text are to be named, and what the encoder sees in their place."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from d2v_jax.common.checks import require
from d2v_jax.common.fields import anything, not_negative, one_of, positive, share
from d2v_jax.common.rng import Keys
from d2v_jax.encoder import samplers

SPECIALS = 4  # ids before the first that RoBERTa puts in the place of others


@dataclasses.dataclass(frozen=True)
class CorruptionConfig:
    """Fields: configs/bert.py."""

    rule: str = one_of("bert", "roberta")
    words: bool = anything()
    most: int = positive()
    mask_share: float = share()
    random_share: float = share()
    kept: tuple[int, ...] = anything()
    separator: int = not_negative()


class Chosen(NamedTuple):
    ids_bt: jax.Array  # what the encoder sees
    chosen_bt: jax.Array  # bool: what is to be named


def check(cfg: CorruptionConfig, frontend: Any) -> None:
    """Raises `ConfigError`."""
    both = cfg.mask_share + cfg.random_share
    require(
        both <= 1 + 1e-6,
        f"corruption.mask_share={cfg.mask_share} and corruption.random_share={cfg.random_share} "
        "exceed 1",
    )
    ids = (*cfg.kept, cfg.separator)
    require(
        max(ids) < frontend.vocab_size,
        f"corruption names the id {max(ids)}, which is outside frontend.vocab_size="
        f"{frontend.vocab_size}",
    )


def most(cfg: CorruptionConfig, chosen: float, tokens: int) -> int:
    """Room for what is chosen of so many tokens."""
    if cfg.rule == "bert":
        return min(cfg.most, max(1, round(tokens * chosen)))
    if cfg.words:
        return tokens  # long words count once
    return min(int(chosen * tokens) + 1, tokens)


def choose(
    cfg: CorruptionConfig,
    frontend: Any,
    chosen: float,
    random: Keys,
    ids_bt: jax.Array,
    goes_on_bt: jax.Array | None = None,
) -> Chosen:
    """Chooses `chosen` of each text and corrupts it, from each example's own key.

    "bert": round(share * length), between 1 and `most`, never what is `kept`; of whole words as
    many as fit, in random order; each piece is corrupted by itself. "roberta": share * length,
    rounded up or down at random, of all tokens; of whole words that many words, and one decision
    for each of them. `goes_on_bt` says which ids are of the same word as the one before them.
    """
    if goes_on_bt is None:
        goes_on_bt = jnp.zeros(ids_bt.shape, bool)

    def one(key: jax.Array, ids_t: jax.Array, goes_on_t: jax.Array) -> tuple[jax.Array, jax.Array]:
        keys = jax.random.split(key, 5)
        real_t = ids_t != frontend.pad_id
        free_t = real_t & ~jnp.isin(ids_t, jnp.array(cfg.kept or (-1,)))
        goes_on_t = goes_on_t & free_t & jnp.pad(free_t, (1, 0))[:-1]
        word_t = jnp.cumsum(~goes_on_t) - 1  # a number for each word
        score_t = jax.random.uniform(keys[0], ids_t.shape)  # of word 0, 1, ...
        if cfg.rule == "bert":
            size_w = jax.ops.segment_sum(free_t.astype(jnp.int32), word_t, len(ids_t))
            counts = [most(cfg, chosen, n) for n in range(len(ids_t) + 1)]
            taken_w = _filling(score_t, size_w, jnp.array(np.array(counts))[real_t.sum()])
        else:
            first_w = jax.ops.segment_max(free_t.astype(jnp.int32), word_t, len(ids_t))
            there_w = (first_w > 0) & (jnp.arange(len(ids_t)) <= word_t[-1])
            count = (chosen * there_w.sum() + jax.random.uniform(keys[1])).astype(jnp.int32)
            taken_w = samplers.highest(jnp.where(there_w, score_t, -1), count) & there_w
        chosen_t = taken_w[word_t] & free_t
        decision_t = jax.random.uniform(keys[2], ids_t.shape)
        if cfg.rule == "roberta":
            decision_t = decision_t[word_t]
        first = 0 if cfg.rule == "bert" else SPECIALS
        other_t = jax.random.randint(keys[3], ids_t.shape, first, frontend.vocab_size)
        seen_t = jnp.where(decision_t < cfg.mask_share + cfg.random_share, other_t, ids_t)
        seen_t = jnp.where(decision_t < cfg.mask_share, frontend.mask_id, seen_t)
        return jnp.where(chosen_t, seen_t, ids_t), chosen_t

    return Chosen(*jax.vmap(one)(random.each_n, ids_bt, goes_on_bt))


def _filling(score_w: jax.Array, size_w: jax.Array, room: jax.Array) -> jax.Array:
    """Words in the order of their scores, each taken if it still fits; -> taken [w], bool."""

    def take(left: jax.Array, size: jax.Array) -> tuple[jax.Array, jax.Array]:
        fits = (size > 0) & (size <= left)
        return left - fits * size, fits

    order_w = jnp.argsort(-score_w)
    _, fits_w = jax.lax.scan(take, room, size_w[order_w])
    return jnp.zeros_like(fits_w).at[order_w].set(fits_w)


def types(ids_bt: jax.Array, separator: int, pad_id: int) -> jax.Array:
    """0 up to the first separator, 1 behind it, 0 for padding."""
    behind_bt = jnp.cumsum(ids_bt == separator, 1) - (ids_bt == separator) > 0
    return (behind_bt & (ids_bt != pad_id)).astype(jnp.int32)
