"""HuBERT (arXiv:2106.07447): name the cluster that a hidden frame of speech belongs to.

Clusters are found beforehand, of MFCCs or of what a layer of an earlier model makes of the sound
(`d2v units`); batches bring them as "units" (data/units/units.py). Spans of frames are hidden from
a Transformer, whose output is to be nearest to the embedding of the frame's own cluster; at hidden
frames, and if wished at the others too.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from d2v_jax.baselines import speech
from d2v_jax.baselines.speech import EXACTLY, Heard
from d2v_jax.common.checks import ConfigError, require
from d2v_jax.common.fields import anything, below_one, not_negative, positive
from d2v_jax.common.rng import Keys
from d2v_jax.common.trees import Tree
from d2v_jax.encoder.masking import Mask, MaskConfig
from d2v_jax.encoder.model import EncoderModel
from d2v_jax.encoder.network import Encoded
from d2v_jax.encoder.objective import Batch, Metrics
from d2v_jax.encoder.sections import PositionsConfig, TrunkConfig
from d2v_jax.frontends.frontend import Frontend, Inputs
from d2v_jax.nn import initializers
from d2v_jax.nn.dense import Dense
from d2v_jax.nn.dropout import dropout

RATE = 16_000  # samples per second


@dataclasses.dataclass(frozen=True)
class ClustersConfig:
    """Fields: configs/hubert.py."""

    classes: tuple[int, ...] = anything()
    special: int = not_negative()
    rate: float = positive()
    projected: int = positive()
    untied: bool = anything()
    temperature: float = positive()
    hidden: float = not_negative()
    shown: float = not_negative()
    penalty: float = not_negative()
    input_dropout: float = below_one()


@dataclasses.dataclass(frozen=True)
class HubertConfig:
    frontend: Frontend
    positions: PositionsConfig
    trunk: TrunkConfig
    mask: MaskConfig
    clusters: ClustersConfig


class Drawn(NamedTuple):
    """The question; `labels_nts` has a class of each label set for each frame, -1 for none."""

    inputs: Inputs
    mask: Mask
    labels_nts: jax.Array


class Answer(NamedTuple):
    """`logits`: of each label set, [n, t, classes]."""

    heard: Heard
    encoded: Encoded
    predictions_ntf: jax.Array
    logits: tuple[jax.Array, ...]


class HubertNetwork(speech.SpeechNetwork):
    """The encoder, a projection, and the clusters' embeddings, those of all label sets in turn."""

    def setup(self) -> None:
        super().setup()
        cfg, width = self.cfg.clusters, self.cfg.trunk.width
        init = initializers.torch_default(width)
        sets = len(cfg.classes) if cfg.untied else 1
        self.prediction = Dense(
            sets * cfg.projected,
            dtype="float32",
            precision=EXACTLY,
            kernel_init=init,
            bias_init=init,
        )
        self.clusters = speech.Table((sum(cfg.classes), cfg.projected))

    def answer(
        self, inputs: Inputs, mask: Mask | None, frames: int | None, random: Keys | None
    ) -> Answer:
        cfg, prefix = self.cfg.clusters, self.cfg.trunk.prefix_tokens
        keys_of = lambda name: None if random is None else random.named(name)
        heard = self.hear(inputs, frames)
        tokens = heard.tokens._replace(
            x_btd=dropout(heard.tokens.x_btd, cfg.input_dropout, keys_of("input"))
        )
        encoded = self.encode(tokens, mask, keys_of("encoder"))
        predictions_ntf = self.prediction(encoded.out[:, prefix:].astype(jnp.float32))
        each = jnp.split(predictions_ntf, len(cfg.classes), -1) if cfg.untied else None
        tables = jnp.split(self.clusters(), np.cumsum(cfg.classes)[:-1])
        logits = tuple(
            speech.cosines(each[i] if each else predictions_ntf, table, cfg.temperature)
            for i, table in enumerate(tables)
        )
        return Answer(heard, encoded, predictions_ntf, logits)

    def everything(self, inputs: Inputs, mask: Mask | None, random: Keys) -> Any:
        return self.answer(inputs, mask, None, random)


class HubertModel(EncoderModel):
    network = HubertNetwork


@dataclasses.dataclass(frozen=True)
class Objective(speech.Sibling):
    """HuBERT."""

    cfg: HubertConfig

    sections: ClassVar[type] = HubertConfig
    optional: ClassVar[tuple[str, ...]] = ("mask", "prediction", "clusters")
    sizes: ClassVar[str] = " of clusters.classes and clusters.projected"
    kind: ClassVar[type[EncoderModel]] = HubertModel

    def draw(self, random: Keys, batch: Batch) -> Drawn:
        model, cfg = self.model, self.cfg.clusters
        if "units" not in batch:
            raise ConfigError(
                'the batches bring no "units": HuBERT learns the clusters of frames, int32 '
                "[b, labels, label sets]; set data.units to what d2v units wrote"
            )
        units_bls = batch["units"]
        if units_bls.shape[-1] != len(cfg.classes):
            raise ConfigError(
                f"the units have {units_bls.shape[-1]} label sets, clusters.classes="
                f"{cfg.classes} has {len(cfg.classes)}"
            )
        inputs = model.prepare(batch)
        labels = round(inputs.values.shape[1] * cfg.rate / RATE)
        if units_bls.shape[1] != labels:
            raise ConfigError(
                f"batches have {units_bls.shape[1]} units for {inputs.values.shape[1]} samples, "
                f"and clusters.rate={cfg.rate:g} asks for {labels}; set clusters.rate and "
                "data.unit_rate to the same number of units a second"
            )
        frames = model.token_count(inputs.values.shape[1:])
        labels_bts = aligned(units_bls, frames, self.ratio)
        labels_bts = jnp.where(labels_bts < 0, -1, labels_bts + cfg.special)
        padding_bt = self.cfg.frontend.padding_of(inputs, labels_bts.shape[1])
        mask = model.draw_mask(random.named("mask"), labels_bts.shape[1], padding_bt)
        return Drawn(inputs, mask, labels_bts)

    @property
    def ratio(self) -> float:
        """Labels per frame."""
        strides = np.prod([stride for _, _, stride in self.cfg.frontend.conv_layers])
        return float(self.cfg.clusters.rate * strides / RATE)

    def weights(self, drawn: Drawn) -> tuple[jax.Array, jax.Array]:
        """1 for the frames that are hidden, and for those that are shown; padding is neither."""
        real_nt = (drawn.labels_nts >= 0).all(-1)
        padding_nt = self.cfg.frontend.padding_of(drawn.inputs, real_nt.shape[1])
        if padding_nt is not None:
            real_nt &= ~padding_nt
        hidden_nt = drawn.mask.hidden_nt
        return tuple(x.astype(jnp.float32) for x in (hidden_nt & real_nt, ~hidden_nt & real_nt))

    def counts(self, drawn: Drawn) -> dict[str, jax.Array]:
        return {"frames": self.frames(*self.weights(drawn))}

    def frames(self, hidden_nt: jax.Array, shown_nt: jax.Array) -> jax.Array:
        """How many are asked for, whatever the number of label sets."""
        cfg = self.cfg.clusters
        return hidden_nt.sum() * (cfg.hidden > 0) + shown_nt.sum() * (cfg.shown > 0)

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
        frames = drawn.labels_nts.shape[1]
        answer = self.apply(params, drawn.inputs, drawn.mask, frames, random, method="answer")
        total, metrics = self.terms(answer, drawn)
        share = (drawn.mask.hidden_nt.mean(dtype=jnp.float32), jnp.float32(1))
        return total / whole["frames"], metrics | {"hidden_share": share}

    def terms(self, answer: Answer, drawn: Drawn) -> tuple[jax.Array, Metrics]:
        """-> (the sum over frames and label sets, its terms).

        Terms of label set 1 and so on end in its number; the penalty counts once for every frame.
        """
        cfg, (hidden_nt, shown_nt) = self.cfg.clusters, self.weights(drawn)
        frames, penalty = self.frames(hidden_nt, shown_nt), speech.penalty(answer.heard.raw_btc)
        total = cfg.penalty * penalty * frames
        metrics = {"penalty": (penalty, jnp.float32(1))}
        for i, logits in enumerate(answer.logits):
            labels_nt, end = jnp.maximum(drawn.labels_nts[..., i], 0), f"_{i}" if i else ""
            each_nt = speech.cross_entropy(logits, labels_nt)
            right_nt = logits.argmax(-1) == labels_nt
            for weight_nt, factor, name in (
                (hidden_nt, cfg.hidden, ""),
                (shown_nt, cfg.shown, "shown_"),
            ):
                term = (each_nt * weight_nt).sum()
                total += factor * term if factor else 0.0
                metrics[f"{name}cluster{end}"] = (term, weight_nt.sum())
                metrics[f"{name}accuracy{end}"] = ((right_nt * weight_nt).sum(), weight_nt.sum())
        return total, metrics

    def check(self, example_shapes: tuple[tuple[int, ...], ...]) -> None:
        super().check(example_shapes)
        cfg = self.cfg.clusters
        require(
            len(cfg.classes) > 0 and all(count > cfg.special + 1 for count in cfg.classes),
            f"clusters.classes={cfg.classes} must be numbers of classes, the "
            f"clusters.special={cfg.special} in front included, one for each label set",
        )
        require(
            cfg.hidden + cfg.shown > 0,
            "clusters.hidden=0 and clusters.shown=0 leave nothing to learn; raise one",
        )

    def troubles(self, record: Mapping[str, float], warm: bool) -> dict[str, str]:
        chance = 1 / (max(self.cfg.clusters.classes) - self.cfg.clusters.special)
        if not warm or record["accuracy"] >= 1.2 * chance:
            return {}
        return {
            "accuracy": (
                f"the right cluster is named in {100 * record['accuracy']:.1f} % of the hidden "
                "frames, no more often than by chance. Are the units of these recordings, and at "
                "clusters.rate? Otherwise lengthen the warm-up or lower optimizer.learning_rate."
            )
        }

    def multiply_adds(self, tokens: int) -> float:
        cfg, width = self.cfg.clusters, self.cfg.trunk.width
        sets = len(cfg.classes) if cfg.untied else 1
        return tokens * cfg.projected * (sets * width + sum(cfg.classes))


def aligned(labels_bls: jax.Array, frames: int, ratio: float) -> jax.Array:
    """Labels at `ratio` per frame -> [b, t, s], one for each frame, t as far as labels go."""
    labels = labels_bls.shape[1]
    if ratio * frames > labels:
        frames = int(labels / ratio)
    places = (np.float32(ratio) * np.arange(frames, dtype=np.float32)).astype(np.int32)
    return labels_bls[:, places]
