"""What wav2vec 2.0 and HuBERT have in common: hide frames, predict something at these places."""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from d2v_jax.baselines import flops
from d2v_jax.common import trees
from d2v_jax.common.checks import require
from d2v_jax.common.trees import Tree
from d2v_jax.encoder import sections as encoder
from d2v_jax.encoder.network import Network, Tokens
from d2v_jax.encoder.objective import Fact
from d2v_jax.encoder.trained import EncoderObjective
from d2v_jax.frontends.frontend import Inputs
from d2v_jax.nn import initializers

ENCODER = ("frontend", "positions", "mask", "prefix", "prenet", "trunk")
EXACTLY = jax.lax.Precision.HIGHEST  # targets and losses stay float32 on every machine


class Heard(NamedTuple):
    """What convolutions make of a wave, before and behind the norm, and the encoder's tokens."""

    raw_btc: jax.Array
    normed_btc: jax.Array
    tokens: Tokens


class SpeechNetwork(Network):
    """The encoder's parts, with the stages of its frontend in reach."""

    def hear(self, inputs: Inputs, frames: int | None = None) -> Heard:
        """Waves as frames; only the first `frames` of them, as if there were no others."""
        raw_btc = self.frontend.convolved(inputs.values)[:, :frames]
        normed_btc = self.frontend.norm(raw_btc)
        padding_bt = self.cfg.frontend.padding_of(inputs, raw_btc.shape[1])
        return Heard(raw_btc, normed_btc, Tokens(self.frontend.proj(normed_btc), padding_bt))


class Table(nn.Module):
    """Rows that are learned, from U[0, 1)."""

    shape: tuple[int, int]

    @nn.compact
    def __call__(self) -> jax.Array:
        return self.param("embedding", initializers.uniform(0, 1), self.shape)


def penalty(raw_btc: jax.Array) -> jax.Array:
    """Mean square of what the convolutions give, of all frames, padding included."""
    return jnp.square(raw_btc.astype(jnp.float32)).mean()


def cosines(one: jax.Array, other: jax.Array, temperature: float) -> jax.Array:
    """[..., a, f], [..., b, f] -> [..., a, b]: cosine similarities over `temperature`, float32."""
    one, other = (x / length(x) for x in (one.astype(jnp.float32), other.astype(jnp.float32)))
    return jnp.einsum("...af,...bf->...ab", one, other, precision=EXACTLY) / temperature


def length(x: jax.Array) -> jax.Array:
    """Of vectors on the last axis, at least 1e-8; its gradient is 0 where that holds."""
    square = jnp.square(x).sum(-1, keepdims=True)
    return jnp.sqrt(jnp.maximum(square, 1e-16))


@dataclasses.dataclass(frozen=True)
class Sibling(EncoderObjective):
    """An encoder that learns with something on top; a subclass says with what."""

    shown: ClassVar[tuple[str, ...]] = ("accuracy",)

    def apply(self, params: Tree, *args: Any, method: str) -> Any:
        """A method of the network."""
        return self.kind.network(self.cfg).apply({"params": params}, *args, method=method)

    def check(self, example_shapes: tuple[tuple[int, ...], ...]) -> None:
        encoder.check(self.cfg, example_shapes)
        require(
            self.cfg.mask.hide == "replace",
            f"mask.hide={self.cfg.mask.hide!r}: {type(self).__module__} needs 'replace'",
        )

    def facts(self, params: Tree, carried: Tree | None) -> Sequence[Fact]:
        del carried
        inside = {part: tree for part, tree in params.items() if part in ENCODER}
        on_top = {part: tree for part, tree in params.items() if part not in ENCODER}
        return [
            Fact("model", trees.count(params), "parameters"),
            Fact("encoder", trees.count(inside), "(what features and fine-tuning use)"),
            Fact("on top", trees.count(on_top), ", ".join(on_top)),
        ]

    def arithmetic(self, example_shape: tuple[int, ...]) -> dict[str, float]:
        return flops.of_encoder(self.cfg, example_shape) | {
            "on top": 6 * self.multiply_adds(self.cfg.frontend.token_count(example_shape))
        }

    def multiply_adds(self, tokens: int) -> float:
        """Of what stands on top of the encoder, forwards, for one example."""
        raise NotImplementedError


def perplexity(shares: jax.Array) -> jax.Array:
    """exp of the entropy of shares on the last axis; as the originals take it, 1e-7 in the log."""
    return jnp.exp(-(shares * jnp.log(shares + 1e-7)).sum(-1))


def guessed(logits: jax.Array, weight: jax.Array) -> jax.Array:
    """How often the first of logits [..., n] is the largest; not where all are equal."""
    first = (logits.argmax(-1) == 0) & (logits.argmin(-1) != 0)
    return (first * weight).sum()


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Of logits [..., n] and labels [...], float32."""
    chosen = jnp.take_along_axis(logits, labels[..., None], -1)[..., 0]
    return jax.nn.logsumexp(logits, -1) - chosen
