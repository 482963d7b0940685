"""Ids in, tokens with their positions out."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from d2v_jax.common.checks import require
from d2v_jax.common.fields import below_one, not_negative, one_of, positive
from d2v_jax.common.rng import Keys
from d2v_jax.frontends import frontend
from d2v_jax.frontends.frontend import Inputs
from d2v_jax.nn import initializers
from d2v_jax.nn.dropout import dropout
from d2v_jax.nn.norm import LayerNorm


@dataclasses.dataclass(frozen=True)
class TextFrontend(frontend.Frontend):
    """Ids -> their embeddings. Fields: configs/text.py."""

    vocab_size: int = positive()
    positions: str = one_of("learned", "absolute", "none")
    max_tokens: int = positive()
    types: int = not_negative()
    pad_id: int = not_negative()
    mask_id: int = not_negative()
    norm_eps: float = positive()
    dropout: float = below_one()

    dtype = jnp.int32
    hides_inputs = True

    def build(self, width: int, dtype: str, init: str) -> nn.Module:
        """The module (ids_bt, keys) -> tokens_btd."""
        return TextEmbedding(self, width, dtype, init)

    def token_count(self, example_shape: tuple[int, ...]) -> int:
        """As many as ids."""
        return example_shape[0]

    def padding(self, inputs: Inputs) -> jax.Array:
        """Where the id is that of padding [b, t]."""
        return inputs.values == self.pad_id

    def hide(self, inputs: Inputs, hidden_bt: jax.Array) -> Inputs:
        """`<mask>` for hidden ids."""
        return Inputs(jnp.where(hidden_bt, self.mask_id, inputs.values))

    def only(self, inputs: Inputs, hidden_bt: jax.Array) -> Inputs:
        """The hidden ids, `<pad>` for all others."""
        return Inputs(jnp.where(hidden_bt, inputs.values, self.pad_id))

    def check(self) -> None:
        for name, number in (("pad_id", self.pad_id), ("mask_id", self.mask_id)):
            require(
                number < self.vocab_size,
                f"frontend.{name}={number} is outside frontend.vocab_size={self.vocab_size}",
            )


Frontend = TextFrontend


class Embedding(nn.Module):
    """Rows of a table by id. The row of padding, if any, is zero at first and never learned.

    Behind a norm the gradient of an all-zero row is hundreds of times that of others and would
    rule the clipping (REFERENCE §1.8).
    """

    rows: int
    width: int
    pad_id: int | None
    initial: str

    @nn.compact
    def __call__(self, ids_bt: jax.Array) -> jax.Array:
        init = initializers.NAMED[self.initial]
        if self.pad_id is not None:
            init = initializers.zero_row(init, self.pad_id)
        table = self.param("embedding", init, (self.rows, self.width))
        x_btd = table[ids_bt]
        if self.pad_id is None:
            return x_btd
        frozen = (ids_bt == self.pad_id)[:, :, None]
        return jnp.where(frozen, jax.lax.stop_gradient(x_btd), x_btd)


class TextEmbedding(nn.Module):
    """ids_bt -> tokens_btd: embedding, learned position, layer norm, dropout (REFERENCE §7.1).

    "learned" positions count the ids that are not padding, from pad_id + 1; padding stands at
    pad_id. "absolute" ones count from 0 whatever the ids. `types_bt` says which sentence of a pair
    an id is of, 0 unless told; only where the table of types has rows.
    """

    cfg: TextFrontend
    width: int
    dtype: str
    initial: str

    @nn.compact
    def __call__(
        self, ids_bt: jax.Array, keys: Keys | None = None, types_bt: jax.Array | None = None
    ) -> jax.Array:
        cfg = self.cfg
        table = lambda rows, name: Embedding(rows, self.width, cfg.pad_id, self.initial, name=name)
        plain = lambda rows, name: Embedding(rows, self.width, None, self.initial, name=name)
        x_btd = table(cfg.vocab_size, "tokens")(ids_bt)
        if cfg.positions == "learned":
            real_bt = ids_bt != cfg.pad_id
            places_bt = jnp.cumsum(real_bt, 1) * real_bt + cfg.pad_id
            x_btd = x_btd + table(cfg.max_tokens + cfg.pad_id + 1, "positions")(places_bt)
        if cfg.positions == "absolute":
            places_bt = jnp.broadcast_to(jnp.arange(ids_bt.shape[1]), ids_bt.shape)
            x_btd = x_btd + plain(cfg.max_tokens, "positions")(places_bt)
        if cfg.types:
            types_bt = jnp.zeros_like(ids_bt) if types_bt is None else types_bt
            x_btd = x_btd + plain(cfg.types, "types")(types_bt)
        return dropout(LayerNorm(cfg.norm_eps, self.dtype, name="norm")(x_btd), cfg.dropout, keys)
