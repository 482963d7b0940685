"""The one model: frontend, positions, prefix, prenet, trunk, decoder. v1 and v2, all modalities."""

import dataclasses
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from d2v_jax.common.checks import ConfigError
from d2v_jax.common.trees import Tree
from d2v_jax.data2vec import masking
from d2v_jax.data2vec.config import ModelConfig
from d2v_jax.data2vec.decoder import ConvDecoder, fill
from d2v_jax.frontends import image
from d2v_jax.nn import positions
from d2v_jax.nn.block import Layer
from d2v_jax.nn.trunk import Prenet, Trunk


class Encoded(NamedTuple):
    """The stages of one pass through the encoder; prefix tokens in front of each."""

    normed: jax.Array  # [n, p + t, d] after the prenet's norm
    prenet: list[Layer]
    trunk: list[Layer]

    @property
    def out(self) -> jax.Array:
        """The last block's output."""
        return self.trunk[-1].out


class Predictions(NamedTuple):
    hidden_nud: jax.Array  # at the hidden places
    prefix_npd: jax.Array  # encoder output at the prefix tokens


class PrefixTokens(nn.Module):
    """Learned tokens in front of the others, N(0, 1) at first (REFERENCE §10.2, T17)."""

    count: int

    @nn.compact
    def __call__(self, x_ntd: jax.Array) -> jax.Array:
        shape = (self.count, x_ntd.shape[-1])
        tokens_pd = self.param("tokens", nn.initializers.normal(1.0), shape)
        tokens_npd = jnp.broadcast_to(tokens_pd, (x_ntd.shape[0], *shape)).astype(x_ntd.dtype)
        return jnp.concatenate([tokens_npd, x_ntd], axis=1)


class Network(nn.Module):
    """The parameters and how they are applied. Parts: the top level of the tree."""

    cfg: ModelConfig

    def setup(self) -> None:
        cfg, trunk = self.cfg, self.cfg.trunk
        stack = (trunk.heads, trunk.mlp_ratio, trunk.norm_eps, trunk.dtype)
        match cfg.modality:
            case "image":
                side = cfg.frontend.grid
                self.frontend = image.ImageFrontend(
                    cfg.frontend.patch_size, trunk.width, trunk.dtype
                )
                self.fixed_positions_td = positions.sincos_2d(side, trunk.width)
                space = (side, side)
            case other:
                raise ConfigError(f"modality={other!r} is not known; known: 'image'")
        self.prefix = PrefixTokens(trunk.prefix_tokens)
        self.prenet = Prenet(trunk.prenet_depth, *stack)
        self.trunk = Trunk(trunk.depth, *stack)
        self.decoder = ConvDecoder(cfg.decoder, space, trunk.width, trunk.dtype)

    def tokens(self, inputs: jax.Array) -> jax.Array:
        return self.frontend(inputs)

    def encode(self, tokens_btd: jax.Array, mask: masking.Mask | None) -> Encoded:
        x_btd = tokens_btd + self.fixed_positions_td.astype(tokens_btd.dtype)
        if mask is not None:
            ids_bmv = mask.visible_ids_nv.reshape(x_btd.shape[0], -1, mask.visible_ids_nv.shape[1])
            x_btd = masking.gather(x_btd, ids_bmv)
        normed, prenet = self.prenet(self.prefix(x_btd))
        trunk = self.trunk(prenet[-1].out if prenet else normed)
        return Encoded(normed, prenet, trunk)

    def predict(
        self, tokens_btd: jax.Array, mask: masking.Mask, noise_keys_n: jax.Array
    ) -> Predictions:
        prefix = self.cfg.trunk.prefix_tokens
        encoded = self.encode(tokens_btd, mask).out
        filled_ntd = fill(encoded[:, prefix:], mask, noise_keys_n, self.cfg.decoder.noise_std)
        return Predictions(self.decoder(filled_ntd, mask.hidden_ids_nu), encoded[:, :prefix])

    def everything(self, inputs: jax.Array, mask: masking.Mask, keys_n: jax.Array) -> Predictions:
        """Touches every parameter, for initialisation."""
        return self.predict(self.tokens(inputs), mask, keys_n)


@dataclasses.dataclass(frozen=True)
class Model:
    """Pure functions over a parameter tree: the student's, or the teacher's overlay."""

    cfg: ModelConfig

    def init(self, key: jax.Array) -> dict[str, Any]:
        """Fresh student parameters, float32 (REFERENCE §8.5)."""
        keys_n = jax.random.split(key, 2)
        inputs = jnp.zeros((1, *self.input_shape), jnp.float32)
        mask = self.draw_mask(keys_n[:1])
        network = Network(self.cfg)
        params = network.init(keys_n[1], inputs, mask, keys_n[:1], method="everything")
        return params["params"]

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one example, (y, x, c)."""
        frontend = self.cfg.frontend
        return (frontend.image_size, frontend.image_size, frontend.channels)

    @property
    def token_count(self) -> int:
        """T, tokens of one example."""
        return self.cfg.frontend.grid**2

    def prepare(self, raw: jax.Array) -> jax.Array:
        """A batch as it travels (uint8 pixels) -> what `tokens` takes."""
        frontend = self.cfg.frontend
        return image.normalize(raw, frontend.normalize, frontend.mean, frontend.std)

    def draw_mask(self, keys_n: jax.Array) -> masking.Mask:
        """One mask per key."""
        return masking.draw(self.cfg.mask, keys_n, self.cfg.frontend.grid)

    def tokens(self, params: Tree, inputs: jax.Array) -> jax.Array:
        """The frontend: prepared inputs -> tokens_btd."""
        return self._apply(params, inputs, method="tokens")

    def contextualize(
        self, params: Tree, tokens_btd: jax.Array, mask: masking.Mask | None = None
    ) -> Encoded:
        """Every stage of the encoder; of all tokens, or of the visible ones of each view."""
        return self._apply(params, tokens_btd, mask, method="encode")

    def predict(
        self, params: Tree, tokens_btd: jax.Array, mask: masking.Mask, noise_keys_n: jax.Array
    ) -> Predictions:
        """The student's half: hide, encode the visible, decode the hidden."""
        return self._apply(params, tokens_btd, mask, noise_keys_n, method="predict")

    def _apply(self, params: Tree, *args: Any, method: str) -> Any:
        return Network(self.cfg).apply({"params": params}, *args, method=method)
