"""The one model: frontend, positions, prefix, prenet, trunk, decoder. v1 and v2, all modalities."""

import dataclasses
import types
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from d2v_jax.common.checks import ConfigError
from d2v_jax.common.rng import Keys, keys
from d2v_jax.common.trees import Tree
from d2v_jax.data2vec.config import ModelConfig
from d2v_jax.data2vec.decoder import Decoder, fill
from d2v_jax.encoder import masking, parts
from d2v_jax.encoder.masking import Mask
from d2v_jax.frontends import audio, image, text
from d2v_jax.nn.block import BlockSpec
from d2v_jax.nn.dropout import dropout
from d2v_jax.nn.trunk import Stack, Trunk


class Inputs(NamedTuple):
    """Examples as a frontend takes them: waves, pixels or ids [b, ...].

    `lengths_b` counts the valid samples of padded waves; None where all are. Ids know their
    padding themselves.
    """

    values: jax.Array
    lengths_b: jax.Array | None = None


class Tokens(NamedTuple):
    """A frontend's output; padding is True where there is nothing, None where that is nowhere."""

    x_btd: jax.Array
    padding_bt: jax.Array | None = None


class Encoded(NamedTuple):
    """The stages of one pass through the encoder; prefix tokens in front of each."""

    prenet: Stack
    trunk: Stack
    padding_nt: jax.Array | None

    @property
    def out(self) -> jax.Array:
        """The encoder's output [n, p + t, d]."""
        return self.trunk.out


class Predictions(NamedTuple):
    hidden_nud: jax.Array  # at the hidden places
    prefix_npd: jax.Array  # encoder output at the prefix tokens


def frontend_of(modality: str) -> types.ModuleType:
    """The room that knows what a sample is; all of them have the same functions."""
    match modality:
        case "audio":
            return audio
        case "image":
            return image
        case "text":
            return text
    raise ConfigError(f"modality={modality!r} is not known; known: audio, image, text")


class Network(nn.Module):
    """The parameters and how they are applied. Parts: the top level of the tree."""

    cfg: ModelConfig

    def setup(self) -> None:
        cfg, trunk = self.cfg, self.cfg.trunk
        grid = cfg.frontend.grid
        room = frontend_of(cfg.modality)
        self.frontend = room.build(cfg.frontend, trunk.width, trunk.dtype, trunk.init)
        self.positions = parts.Positions(cfg.positions, trunk, grid)
        if cfg.mask.hide == "replace":
            self.mask = parts.MaskEmbedding(parts.MASK_INIT[trunk.init])
        if trunk.prefix_tokens:
            init = parts.PREFIX_INIT[trunk.init]
            self.prefix = parts.PrefixTokens(trunk.prefix_tokens, init)
        spec = BlockSpec(
            trunk.block, trunk.heads, trunk.hidden, trunk.norm_eps, trunk.dtype, trunk.dropout,
            trunk.attention_dropout, trunk.layer_scale, trunk.init,
            grid if cfg.positions.bias == "relative_per_block" else None,
        )  # fmt: skip
        self.prenet = Trunk(
            spec, trunk.prenet_depth, "input" if trunk.input_norm else "none",
            trunk.input_dropout, remat=trunk.remat,
        )  # fmt: skip
        self.trunk = Trunk(
            spec, trunk.depth, "output" if trunk.output_norm else "none",
            drop_path=trunk.drop_path, layer_drop=trunk.layer_drop, remat=trunk.remat,
            scan=trunk.scan,
        )  # fmt: skip
        self.decoder = Decoder(cfg.decoder, grid, trunk.width, trunk.dtype)

    def tokens(self, inputs: Inputs, random: Keys | None) -> Tokens:
        padding_bt = frontend_of(self.cfg.modality).padding(self.cfg.frontend, *inputs)
        return Tokens(self.frontend(inputs.values, random), padding_bt)

    def encode(self, tokens: Tokens, mask: Mask | None, random: Keys | None) -> Encoded:
        """All tokens, or those a mask leaves, one row per view."""
        place = lambda name: None if random is None else random.named(name)
        hide = None if mask is None else self.cfg.mask.hide
        x_btd, padding_bt = tokens
        views = 1 if mask is None else mask.hidden_nt.shape[0] // x_btd.shape[0]
        if hide == "replace":
            x_btd = self.mask(x_btd, mask.hidden_nt)
        x_ntd = self.positions(x_btd, padding_bt, mask.hidden_nt if hide == "remove" else None)
        ids_nt = jnp.arange(x_ntd.shape[1])[None]
        padding_nt = None if padding_bt is None else jnp.repeat(padding_bt, views, 0)
        if hide == "remove":
            ids_nt = mask.visible_ids_nv
            x_ntd = masking.gather(x_ntd, ids_nt.reshape(x_ntd.shape[0], -1, ids_nt.shape[1]))
            if padding_nt is not None:
                padding_nt = jnp.take_along_axis(padding_nt, ids_nt, 1)
        prefix = self.cfg.trunk.prefix_tokens
        if prefix:
            x_ntd = self.prefix(x_ntd)
            if padding_nt is not None:
                padding_nt = jnp.pad(padding_nt, ((0, 0), (prefix, 0)))
        bias_nhtt = self.positions.bias(ids_nt)
        prenet = self.prenet(x_ntd, bias_nhtt, padding_nt, place("prenet"))
        trunk = self.trunk(prenet.out, bias_nhtt, padding_nt, place("trunk"))
        return Encoded(prenet, trunk, padding_nt)

    def predict(self, tokens: Tokens, mask: Mask, random: Keys) -> Predictions:
        prefix = self.cfg.trunk.prefix_tokens
        out_ntd = self.encode(tokens, mask, random).out
        x_ntd = out_ntd[:, prefix:]
        decoder = self.cfg.decoder
        x_ntd = dropout(x_ntd, decoder.input_dropout, random.named("decoder"))
        if self.cfg.mask.hide == "remove":
            x_ntd = fill(x_ntd, mask, random.named("noise").each_n, decoder.noise_std)
        return Predictions(self.decoder(x_ntd, mask.hidden_ids_nu), out_ntd[:, :prefix])

    def everything(self, inputs: Inputs, mask: Mask, random: Keys) -> Predictions:
        """Touches every parameter, for initialisation."""
        return self.predict(self.tokens(inputs, random), mask, random)


@dataclasses.dataclass(frozen=True)
class Model:
    """Pure functions over a parameter tree: the student's, or the teacher's overlay."""

    cfg: ModelConfig

    @property
    def _room(self) -> types.ModuleType:
        return frontend_of(self.cfg.modality)

    def init(self, key: jax.Array, example_shape: tuple[int, ...]) -> dict[str, Any]:
        """Fresh student parameters, float32 (REFERENCE §5.2, §6.2, §7.2, §8.5)."""
        random = keys(key, jnp.zeros(1))
        inputs = Inputs(jnp.zeros((1, *example_shape), self._room.DTYPE))
        mask = self.draw_mask(random, self.token_count(example_shape))
        params = Network(self.cfg).init(key, inputs, mask, random, method="everything")
        return params["params"]

    def token_count(self, example_shape: tuple[int, ...]) -> int:
        """T, tokens of one example of this shape: (samples,), (y, x, c) or (ids,)."""
        return self._room.token_count(self.cfg.frontend, example_shape)

    def prepare(self, batch: Mapping[str, jax.Array]) -> Inputs:
        """A batch as it travels -> what `tokens` takes; see the frontends' `prepare`."""
        return Inputs(self._room.prepare(self.cfg.frontend, batch))

    def padding(self, inputs: Inputs) -> jax.Array | None:
        """Where the tokens of these inputs will be nothing [b, t], or None."""
        return self._room.padding(self.cfg.frontend, *inputs)

    def draw_mask(
        self, random: Keys, tokens: int, padding_bt: jax.Array | None = None
    ) -> Mask:  # fmt: skip
        """One mask per key of `random`, which holds one per view."""
        lengths_n = None
        if padding_bt is not None:
            views = random.each_n.shape[0] // padding_bt.shape[0]
            lengths_n = jnp.repeat((~padding_bt).sum(1), views)
        return masking.draw(self.cfg.mask, random, tokens, lengths_n)

    def hide_inputs(self, inputs: Inputs, mask: Mask) -> Inputs:
        """What the student's frontend may see: `<mask>` for hidden ids, where a recipe hides so."""
        if self.cfg.mask.hide != "input":
            return inputs
        return Inputs(jnp.where(mask.hidden_nt, self.cfg.frontend.mask_id, inputs.values))

    def hidden_inputs(self, inputs: Inputs, mask: Mask) -> Inputs:
        """Only the hidden ids, padding elsewhere (T1)."""
        return Inputs(jnp.where(mask.hidden_nt, inputs.values, self.cfg.frontend.pad_id))

    def tokens(self, params: Tree, inputs: Inputs, random: Keys | None = None) -> Tokens:
        """The frontend. `random`, a key per example, switches its dropout on."""
        return self._apply(params, inputs, random, method="tokens")

    def contextualize(self, params: Tree, tokens: Tokens, mask: Mask | None = None) -> Encoded:
        """Every stage of the encoder, without dropout; of all tokens, or as a mask leaves them."""
        return self._apply(params, tokens, mask, None, method="encode")

    def predict(self, params: Tree, tokens: Tokens, mask: Mask, random: Keys) -> Predictions:
        """The student's half: hide, encode, decode the hidden. `random` has a key per view."""
        return self._apply(params, tokens, mask, random, method="predict")

    def _apply(self, params: Tree, *args: Any, method: str) -> Any:
        return Network(self.cfg).apply({"params": params}, *args, method=method)
