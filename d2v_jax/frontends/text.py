"""Ids in, tokens with their positions out."""

import dataclasses
from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp

from d2v_jax.common.rng import Keys
from d2v_jax.nn import initializers
from d2v_jax.nn.dropout import dropout
from d2v_jax.nn.norm import LayerNorm

DTYPE = jnp.int32  # of inputs


@dataclasses.dataclass(frozen=True)
class TextFrontend:
    vocab_size: int
    positions: str
    max_tokens: int
    pad_id: int
    mask_id: int
    norm_eps: float
    dropout: float
    grid = None  # tokens stand in a row


def build(cfg: TextFrontend, width: int, dtype: str, init: str) -> nn.Module:
    """The module (ids_bt, keys) -> tokens_btd."""
    return TextEmbedding(
        cfg.vocab_size, cfg.max_tokens if cfg.positions == "learned" else None, cfg.pad_id,
        cfg.norm_eps, cfg.dropout, width, dtype, init,
    )  # fmt: skip


def prepare(cfg: TextFrontend, batch: Mapping[str, jax.Array]) -> jax.Array:
    """ids_bt int32, as they are."""
    del cfg
    return batch["inputs"]


def token_count(cfg: TextFrontend, example_shape: tuple[int, ...]) -> int:
    """As many as ids."""
    del cfg
    return example_shape[0]


def multiply_adds(cfg: TextFrontend, example_shape: tuple[int, ...], width: int) -> tuple[int, int]:
    """None: tables are looked up."""
    del cfg, example_shape, width
    return 0, 0


def padding(cfg: TextFrontend, ids_bt: jax.Array, lengths_b: jax.Array | None) -> jax.Array:
    """Where the id is that of padding."""
    del lengths_b
    return ids_bt == cfg.pad_id


class Embedding(nn.Module):
    """Rows of a table by id. The row of padding is zero at first and never learned.

    Behind a norm the gradient of an all-zero row is hundreds of times that of others and would
    rule the clipping (REFERENCE §1.8).
    """

    rows: int
    width: int
    pad_id: int
    initial: str

    @nn.compact
    def __call__(self, ids_bt: jax.Array) -> jax.Array:
        init = initializers.zero_row(initializers.NAMED[self.initial], self.pad_id)
        table = self.param("embedding", init, (self.rows, self.width))
        x_btd = table[ids_bt]
        frozen = (ids_bt == self.pad_id)[:, :, None]
        return jnp.where(frozen, jax.lax.stop_gradient(x_btd), x_btd)


class TextEmbedding(nn.Module):
    """ids_bt -> tokens_btd: embedding, learned position, layer norm, dropout (REFERENCE §7.1).

    Positions count the ids that are not padding, from pad_id + 1; padding stands at pad_id. There
    are none where `max_tokens` is None.
    """

    vocab_size: int
    max_tokens: int | None
    pad_id: int
    norm_eps: float
    dropout: float
    width: int
    dtype: str
    initial: str

    @nn.compact
    def __call__(self, ids_bt: jax.Array, keys: Keys | None = None) -> jax.Array:
        table = lambda rows, name: Embedding(rows, self.width, self.pad_id, self.initial, name=name)
        x_btd = table(self.vocab_size, "tokens")(ids_bt)
        if self.max_tokens is not None:
            real_bt = ids_bt != self.pad_id
            places_bt = jnp.cumsum(real_bt, 1) * real_bt + self.pad_id
            x_btd = x_btd + table(self.max_tokens + self.pad_id + 1, "positions")(places_bt)
        return dropout(LayerNorm(self.norm_eps, self.dtype, name="norm")(x_btd),
                       self.dropout, keys)  # fmt: skip
