"""BERT (arXiv:1810.04805): hide some tokens of a text, name them from both sides.

Of each text some tokens are chosen, single ones or whole words. Most become `<mask>`, some another
token, and some stay; the encoder names the original of each. Of pairs it may also say whether
their second part follows the first. RoBERTa (arXiv:1907.11692) is the recipe without that, with
masks drawn anew at each step, as all masks are here.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from d2v_jax.baselines import corruption, flops
from d2v_jax.baselines.corruption import CorruptionConfig
from d2v_jax.common.checks import UserError, require
from d2v_jax.common.fields import anything
from d2v_jax.common.rng import Keys
from d2v_jax.common.trees import Tree
from d2v_jax.encoder import masking
from d2v_jax.encoder import sections as encoder
from d2v_jax.encoder.masking import Mask, MaskConfig
from d2v_jax.encoder.model import EncoderModel
from d2v_jax.encoder.network import Network, Tokens
from d2v_jax.encoder.objective import Batch, Metrics
from d2v_jax.encoder.sections import PositionsConfig, TrunkConfig
from d2v_jax.encoder.trained import EncoderObjective
from d2v_jax.frontends.frontend import Frontend, Inputs
from d2v_jax.nn import initializers
from d2v_jax.nn.activation import gelu
from d2v_jax.nn.dense import Dense
from d2v_jax.nn.norm import LayerNorm


@dataclasses.dataclass(frozen=True)
class SentencesConfig:
    next: bool = anything()


@dataclasses.dataclass(frozen=True)
class BertConfig:
    frontend: Frontend
    positions: PositionsConfig
    trunk: TrunkConfig
    mask: MaskConfig
    corruption: CorruptionConfig
    sentences: SentencesConfig


class Named(NamedTuple):
    """What the network says of a batch, float32."""

    ids_buv: jax.Array  # logits of every id at the chosen places
    next_b2: jax.Array | None  # logits of "the second part follows" and "it does not"


class NamingNetwork(Network):
    """The encoder's parts, `naming`, and for pairs `pooler` and `next`."""

    def setup(self) -> None:
        super().setup()
        trunk = self.cfg.trunk
        init = initializers.NAMED[trunk.init]
        dense = lambda width: Dense(width, dtype=trunk.dtype, kernel_init=init)
        self.naming = Naming(trunk, self.cfg.frontend.vocab_size)
        if self.cfg.sentences.next:
            self.pooler, self.next = dense(trunk.width), dense(2)

    def tokens(
        self, inputs: Inputs, random: Keys | None, types_bt: jax.Array | None = None
    ) -> Tokens:
        padding_bt = self.cfg.frontend.padding(inputs)
        return Tokens(self.frontend(inputs.values, random, types_bt), padding_bt)

    def answer(
        self, tokens: Tokens, places_bu: jax.Array, table_vd: jax.Array, random: Keys | None
    ):
        """`table_vd`: the embedding of ids, which is also what they are told apart by."""
        out_btd = self.encode(tokens, None, random).out
        x_bud = jnp.take_along_axis(out_btd, places_bu[:, :, None], 1)
        ids_buv = self.naming(x_bud, table_vd)
        if not self.cfg.sentences.next:
            return Named(ids_buv, None)
        pooled_bd = jnp.tanh(self.pooler(out_btd[:, 0]))
        return Named(ids_buv, self.next(pooled_bd).astype(jnp.float32))

    def everything(self, inputs: Inputs, mask: Mask, random: Keys) -> Named:
        table_vd = jnp.zeros((self.cfg.frontend.vocab_size, self.cfg.trunk.width))
        return self.answer(self.tokens(inputs, random), mask.hidden_ids_nu, table_vd, random)


class Naming(nn.Module):
    """x_bud -> logits of all ids: linear, gelu, norm, the table of embeddings, a bias."""

    trunk: TrunkConfig
    vocab_size: int

    @nn.compact
    def __call__(self, x_bud: jax.Array, table_vd: jax.Array) -> jax.Array:
        trunk, eps = self.trunk, self.trunk.norm_eps
        init = initializers.NAMED[trunk.init]
        dense = Dense(trunk.width, dtype=trunk.dtype, kernel_init=init, name="dense")
        x_bud = LayerNorm(eps, trunk.dtype, name="norm")(gelu(dense(x_bud)))
        bias = self.param("bias", nn.initializers.zeros, (self.vocab_size,))
        logits = jnp.einsum("bud,vd->buv", x_bud, table_vd.astype(x_bud.dtype))
        return logits.astype(jnp.float32) + bias


class NamingModel(EncoderModel):
    network = NamingNetwork

    def typed(
        self, params: Tree, inputs: Inputs, random: Keys | None, types_bt: jax.Array | None
    ) -> Tokens:
        """`tokens`, of pairs whose sentences have types."""
        return self._apply(params, inputs, random, types_bt, method="tokens")

    def answer(
        self, params: Tree, tokens: Tokens, places_bu: jax.Array, random: Keys | None
    ) -> Named:
        table_vd = params["frontend"]["tokens"]["embedding"]
        return self._apply(params, tokens, places_bu, table_vd, random, method="answer")


class Drawn(NamedTuple):
    inputs: Inputs  # corrupted
    types_bt: jax.Array | None
    places_bu: jax.Array  # chosen, and fillers of weight 0
    weight_bu: jax.Array
    wanted_bu: jax.Array  # the ids that stood there
    next_b: jax.Array | None  # 0: the second part follows the first, 1: it does not


@dataclasses.dataclass(frozen=True)
class Objective(EncoderObjective):
    cfg: BertConfig

    sections: ClassVar[type] = BertConfig
    kind: ClassVar[type[EncoderModel]] = NamingModel
    optional: ClassVar[tuple[str, ...]] = ("naming", "pooler", "next")
    shown: ClassVar[tuple[str, ...]] = ("masked_accuracy",)

    def draw(self, random: Keys, batch: Batch) -> Drawn:
        cfg, frontend = self.cfg, self.cfg.frontend
        inputs = self.model.prepare(batch)
        chosen = corruption.choose(
            cfg.corruption,
            frontend,
            cfg.mask.share,
            random.named("mask"),
            inputs.values,
            self.words(batch) if cfg.corruption.words else None,
        )
        most = corruption.most(cfg.corruption, cfg.mask.share, inputs.values.shape[1])
        mask = masking.from_hidden(chosen.chosen_bt, most)
        wanted_bu = jnp.take_along_axis(inputs.values, mask.hidden_ids_nu, 1)
        types_bt = next_b = None
        if frontend.types > 1:
            types_bt = corruption.types(inputs.values, cfg.corruption.separator, frontend.pad_id)
        if cfg.sentences.next:
            next_b = self.pairs(batch)
        return Drawn(
            Inputs(chosen.ids_bt), types_bt, mask.hidden_ids_nu, mask.weight_nu, wanted_bu, next_b
        )

    def words(self, batch: Batch) -> jax.Array:
        if "goes_on" not in batch:
            raise UserError(
                "corruption.words=True hides whole words and needs to be told where they begin: "
                "set data.words=True, of texts without labels, or corruption.words=False"
            )
        return batch["goes_on"]

    def pairs(self, batch: Batch) -> jax.Array:
        labels = batch.get("labels")
        if labels is None or labels.ndim != 1 or not jnp.issubdtype(labels.dtype, jnp.integer):
            raise UserError(
                "sentences.next=True needs pairs that say whether their second part follows the "
                "first: data.blocks='pairs' makes them of documents; or a table with two "
                "data.columns and data.labels='class', whose classes in data.label_names are "
                "'next' and 'random'; for single texts set sentences.next=False"
            )
        return labels

    def counts(self, drawn: Drawn) -> dict[str, jax.Array]:
        found = {"masked": drawn.weight_bu.sum()}
        if drawn.next_b is not None:
            found["next"] = jnp.float32(len(drawn.next_b))
        return found

    def loss(
        self,
        params: Tree,
        carried: Tree,
        drawn: Drawn,
        random: Keys,
        whole: Mapping[str, jax.Array],
        step: jax.Array,
    ) -> tuple[jax.Array, Metrics]:
        del carried, step
        model = self.model
        tokens = model.typed(params, drawn.inputs, random.named("tokens"), drawn.types_bt)
        named = model.answer(params, tokens, drawn.places_bu, random.named("encoder"))
        error, right = surprise(named.ids_buv, drawn.wanted_bu, drawn.weight_bu)
        count = drawn.weight_bu.sum()
        total = error / jnp.maximum(whole["masked"], 1)
        metrics = {"masked": (error, count), "masked_accuracy": (right, count)}
        if drawn.next_b is not None:
            every_b = jnp.ones(len(drawn.next_b))
            error, right = surprise(named.next_b2, drawn.next_b, every_b)
            total = total + error / whole["next"]
            metrics |= {"next": (error, every_b.sum()), "next_accuracy": (right, every_b.sum())}
        return total, metrics

    def check(self, example_shapes: tuple[tuple[int, ...], ...]) -> None:
        cfg = self.cfg
        encoder.check(cfg, example_shapes)
        require(
            cfg.frontend.hides_inputs,
            f"objective='bert' names ids and needs modality='text', not {cfg.frontend.modality!r}",
        )
        require(cfg.mask.hide == "input", f"mask.hide={cfg.mask.hide!r}: bert needs 'input'")
        require(
            not cfg.sentences.next or cfg.frontend.types == 2,
            f"sentences.next=True needs frontend.types=2, not {cfg.frontend.types}",
        )
        corruption.check(cfg.corruption, cfg.frontend)

    def troubles(self, record: Mapping[str, float], warm: bool) -> dict[str, str]:
        guess = math.log(self.cfg.frontend.vocab_size)
        if warm and record["masked"] > guess:
            return {
                "masked": f"hidden tokens are named worse than by guessing ({record['masked']:.2f} "
                f"of {guess:.2f} nats): training diverges. Lower optimizer.learning_rate or "
                "lengthen the warm-up."
            }
        return {}

    def arithmetic(self, example_shape: tuple[int, ...]) -> dict[str, float]:
        cfg, trunk = self.cfg, self.cfg.trunk
        rows = example_shape[0]
        chosen = corruption.most(cfg.corruption, cfg.mask.share, rows)
        head = chosen * trunk.width * (trunk.width + cfg.frontend.vocab_size)
        return {"encoder": 6 * flops.trunk(trunk, rows), "naming": 6 * head}


def surprise(
    logits: jax.Array, wanted: jax.Array, weight: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """(sum of cross-entropies in nats, of right answers), float32."""
    log_p = jax.nn.log_softmax(logits)
    error = -jnp.take_along_axis(log_p, wanted[..., None].astype(jnp.int32), -1)[..., 0]
    right = (logits.argmax(-1) == wanted).astype(jnp.float32)
    return (error * weight).sum(), (right * weight).sum()
