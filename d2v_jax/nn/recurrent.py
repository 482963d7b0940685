"""Stacked recurrent layers: what has been heard so far, and nothing of what follows."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from d2v_jax.common.rng import Keys
from d2v_jax.nn import initializers
from d2v_jax.nn.block import Layer
from d2v_jax.nn.dense import Dense
from d2v_jax.nn.trunk import Stack

GATES = {"gru": 3, "lstm": 4}


class Recurrent(nn.Module):
    """x_ntd -> Stack, each layer [n, t, width]. Parameters: block_00, block_01, ...

    Takes what a `Trunk` takes. There are no biases of attention, and padding stands behind what
    is heard, where it changes nothing.
    """

    kind: str  # of `GATES`
    width: int
    depth: int
    dtype: str

    @nn.compact
    def __call__(
        self,
        x_ntd: jax.Array,
        bias_nhtt: jax.Array | None = None,
        padding_nt: jax.Array | None = None,
        keys: Keys | None = None,
    ) -> Stack:
        del bias_nhtt, padding_nt, keys  # nothing is dropped
        entered, layers = x_ntd, []
        for i in range(self.depth):
            x_ntd = Level(self.kind, self.width, self.dtype, name=f"block_{i:02d}")(x_ntd)
            layers.append(Layer(x_ntd, x_ntd))
        return Stack(entered, layers, x_ntd)


class Level(nn.Module):
    """One layer, from a state of zeros; gates in torch's order: r, z, n or i, f, g, o.

    State and sums are float32; both products have a bias.
    """

    kind: str
    width: int
    dtype: str

    @nn.compact
    def __call__(self, x_ntd: jax.Array) -> jax.Array:
        init = initializers.torch_default(self.width)
        wide = GATES[self.kind] * self.width
        from_input = Dense(wide, dtype=self.dtype, kernel_init=init, bias_init=init, name="input")
        kernel = self.param("state_kernel", init, (self.width, wide)).astype(self.dtype)
        bias = self.param("state_bias", init, (wide,))
        own_tnf = jnp.swapaxes(from_input(x_ntd), 0, 1).astype(jnp.float32)
        step = {"gru": gru, "lstm": lstm}[self.kind]

        def one(state: tuple[jax.Array, ...], own_nf: jax.Array):
            state = step(own_nf, state[0].astype(self.dtype) @ kernel + bias, state)
            return state, state[0]

        zero = jnp.zeros((x_ntd.shape[0], self.width))
        start = (zero,) if self.kind == "gru" else (zero, zero)
        out_tnd = jax.lax.scan(one, start, own_tnf)[1]
        return jnp.swapaxes(out_tnd, 0, 1).astype(self.dtype)


def gru(own: jax.Array, past: jax.Array, state: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
    """-> (output,)."""
    own_r, own_z, own_n = jnp.split(own, 3, -1)
    past_r, past_z, past_n = jnp.split(past, 3, -1)
    keep = jax.nn.sigmoid(own_z + past_z)
    new = jnp.tanh(own_n + jax.nn.sigmoid(own_r + past_r) * past_n)
    return (new + keep * (state[0] - new),)


def lstm(own: jax.Array, past: jax.Array, state: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
    """-> (output, cell)."""
    enter, keep, new, leave = jnp.split(own + past, 4, -1)
    cell = jax.nn.sigmoid(keep) * state[1] + jax.nn.sigmoid(enter) * jnp.tanh(new)
    return jax.nn.sigmoid(leave) * jnp.tanh(cell), cell
