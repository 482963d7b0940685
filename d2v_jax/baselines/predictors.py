"""What contrastive predictive coding guesses the future with: one head for each step ahead."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from d2v_jax.baselines.speech import EXACTLY
from d2v_jax.common.rng import Keys
from d2v_jax.nn import initializers
from d2v_jax.nn.dense import Dense
from d2v_jax.nn.dropout import dropout
from d2v_jax.nn.norm import LayerNorm

NEVER = -1e30  # the logit of what has not been heard yet


class Linear(nn.Module):
    """context_nth -> [k, n, t, c]: a product for each step, without bias."""

    steps: int
    channels: int

    @nn.compact
    def __call__(self, context_nth: jax.Array, keys: Keys | None = None) -> jax.Array:
        del keys
        width = context_nth.shape[-1]
        init = initializers.torch_default(width)
        kernel_khc = self.param("kernel", init, (self.steps, width, self.channels))
        x_nth = context_nth.astype(jnp.float32)
        return jnp.einsum("nth,khc->kntc", x_nth, kernel_khc, precision=EXACTLY)


class Transformers(nn.Module):
    """context_ntc -> [k, n, t, c]: a causal layer for each step; they know rows of t places alone.

    Attention knows how far back a place is by a learned vector for each distance, which all heads
    of the layer share.
    """

    steps: int
    heads: int
    hidden: int
    dropout: float

    @nn.compact
    def __call__(self, context_nth: jax.Array, keys: Keys | None = None) -> jax.Array:
        every = nn.vmap(
            TransformerLayer,
            in_axes=(None, 0),
            axis_size=self.steps,
            variable_axes={"params": 0},
            split_rngs={"params": True},
        )
        each = None
        if keys is not None:
            numbers = jnp.arange(self.steps)
            fold = lambda key: jax.vmap(lambda i: jax.random.fold_in(key, i))(numbers)
            each = Keys(fold(keys.all), jax.vmap(fold, out_axes=1)(keys.each_n))
        layer = every(self.heads, self.hidden, self.dropout, name="layer")
        return layer(context_nth.astype(jnp.float32), each)


class TransformerLayer(nn.Module):
    """x_ntc -> x_ntc, norms behind branches, ReLU; float32."""

    heads: int
    hidden: int
    dropout: float

    @nn.compact
    def __call__(self, x_ntc: jax.Array, keys: Keys | None) -> jax.Array:
        width = x_ntc.shape[-1]
        norm = lambda name: LayerNorm(1e-5, "float32", name=name)
        keys_of = lambda name: None if keys is None else keys.named(name)
        mixed_ntc = self._attention(x_ntc, keys_of("attention"))
        x_ntc = norm("norm1")(x_ntc + mixed_ntc)
        hidden_ntf = jax.nn.relu(self._dense("fc1", self.hidden, width)(x_ntc))
        hidden_ntf = dropout(hidden_ntf, self.dropout, keys_of("hidden"))
        return norm("norm2")(x_ntc + self._dense("fc2", width, self.hidden)(hidden_ntf))

    def _dense(self, name: str, width: int, fan_in: int, bias: bool = True) -> nn.Module:
        init = initializers.torch_default(fan_in)
        return Dense(
            width, bias, dtype="float32", precision=EXACTLY, kernel_init=init, bias_init=init,
            name=name,
        )  # fmt: skip

    def _attention(self, x_ntc: jax.Array, keys: Keys | None) -> jax.Array:
        places, width = x_ntc.shape[1:]
        each = width // self.heads
        q, k, v = (
            self._dense(name, width, width, bias=False)(x_ntc)
            .reshape(-1, places, self.heads, each)
            .swapaxes(1, 2)
            for name in ("query", "key", "value")
        )
        init = initializers.torch_default(each)
        distances_ks = self.param("distances", init, (each, places))
        back_ij = jnp.arange(places)[:, None] - jnp.arange(places)
        logits_nhij = jnp.einsum("nhik,nhjk->nhij", q, k, precision=EXACTLY)
        # The last column is of distance 0.
        of_distance = jnp.einsum("nhik,ks->nhis", q, distances_ks, precision=EXACTLY)
        column_ij = jnp.clip(places - 1 - back_ij, 0, places - 1)
        logits_nhij += jnp.take_along_axis(of_distance, column_ij[None, None], -1)
        logits_nhij = jnp.where(back_ij >= 0, logits_nhij / each**0.5, NEVER)
        weights_nhij = dropout(jax.nn.softmax(logits_nhij), self.dropout, keys)
        mixed = jnp.einsum("nhij,nhjk->nhik", weights_nhij, v, precision=EXACTLY)
        mixed_ntc = mixed.swapaxes(1, 2).reshape(-1, places, width)
        return self._dense("out", width, width, bias=False)(mixed_ntc)
