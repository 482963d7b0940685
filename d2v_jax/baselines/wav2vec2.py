"""wav2vec 2.0 (arXiv:2006.11477): tell the quantized speech of a hidden frame from that of others.

Spans of frames are hidden from a Transformer. What its output at a hidden frame is compared with is
what the convolutions heard there, in entries of learned codebooks: it must be nearer to that than
to the entries of other hidden frames of the same utterance. All entries should be used.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from d2v_jax.baselines import contrast, quantizer, speech
from d2v_jax.baselines.quantizer import Quantized, Quantizer
from d2v_jax.baselines.speech import EXACTLY, Heard
from d2v_jax.common.checks import require
from d2v_jax.common.fields import below_one, not_negative, positive, require_multiple, share
from d2v_jax.common.rng import Keys
from d2v_jax.common.trees import Tree
from d2v_jax.encoder import masking
from d2v_jax.encoder.masking import Mask, MaskConfig
from d2v_jax.encoder.model import EncoderModel
from d2v_jax.encoder.objective import Batch, Metrics
from d2v_jax.encoder.sections import PositionsConfig, TrunkConfig
from d2v_jax.frontends.frontend import Frontend, Inputs
from d2v_jax.nn import initializers
from d2v_jax.nn.dense import Dense
from d2v_jax.nn.dropout import dropout


@dataclasses.dataclass(frozen=True)
class ContrastConfig:
    """Fields: configs/wav2vec2.py."""

    groups: int = positive()
    entries: int = positive()
    width: int = positive()
    projected: int = positive()
    negatives: int = positive()
    temperature: float = positive()
    noise_start: float = positive()
    noise_end: float = positive()
    noise_decay: float = share()
    diversity: float = not_negative()
    penalty: float = not_negative()
    input_dropout: float = below_one()
    target_dropout: float = below_one()


@dataclasses.dataclass(frozen=True)
class Wav2Vec2Config:
    frontend: Frontend
    positions: PositionsConfig
    trunk: TrunkConfig
    mask: MaskConfig
    contrast: ContrastConfig


class Drawn(NamedTuple):
    """The question: `negatives_nuk` are numbers of hidden frames of the same row."""

    inputs: Inputs
    mask: Mask
    negatives_nuk: jax.Array
    noise_nugv: jax.Array


class Answer(NamedTuple):
    """At the u hidden frames of each row; both sides of the comparison have `projected` entries."""

    heard: Heard
    quantized: Quantized
    targets_nuf: jax.Array
    predictions_nuf: jax.Array


class Wav2Vec2Network(speech.SpeechNetwork):
    """The encoder, `quantizer`, and a projection of each side."""

    def setup(self) -> None:
        super().setup()
        cfg, width = self.cfg.contrast, self.cfg.trunk.width
        self.quantizer = Quantizer(cfg.groups, cfg.entries, cfg.width)
        self.target, self.prediction = (
            Dense(
                cfg.projected,
                dtype="float32",
                precision=EXACTLY,
                kernel_init=initializers.torch_default(fan_in),
                bias_init=initializers.torch_default(fan_in),
            )
            for fan_in in (cfg.width, width)
        )

    def answer(
        self,
        inputs: Inputs,
        mask: Mask,
        noise_nugv: jax.Array | None,
        temperature: jax.Array | float,
        random: Keys | None,
    ) -> Answer:
        cfg, prefix = self.cfg.contrast, self.cfg.trunk.prefix_tokens
        keys_of = lambda name: None if random is None else random.named(name)
        heard = self.hear(inputs)
        tokens = heard.tokens._replace(
            x_btd=dropout(heard.tokens.x_btd, cfg.input_dropout, keys_of("input"))
        )
        out_ntd = self.encode(tokens, mask, keys_of("encoder")).out[:, prefix:]
        normed_btc = dropout(heard.normed_btc, cfg.target_dropout, keys_of("target"))
        ids_n1u = mask.hidden_ids_nu[:, None]
        quantized = self.quantizer(masking.gather(normed_btc, ids_n1u), noise_nugv, temperature)
        return Answer(
            heard,
            quantized,
            self.target(quantized.vectors_nuq),
            self.prediction(masking.gather(out_ntd, ids_n1u).astype(jnp.float32)),
        )

    def everything(self, inputs: Inputs, mask: Mask | None, random: Keys) -> Any:
        return self.answer(inputs, mask, None, 1.0, random)

    def units(self, inputs: Inputs) -> Quantized:
        """The entries of every frame, chosen without noise."""
        return self.quantizer(self.hear(inputs).normed_btc, None)


class Wav2Vec2Model(EncoderModel):
    network = Wav2Vec2Network


@dataclasses.dataclass(frozen=True)
class Objective(speech.Sibling):
    """wav2vec 2.0."""

    cfg: Wav2Vec2Config

    sections: ClassVar[type] = Wav2Vec2Config
    shown: ClassVar[tuple[str, ...]] = ("accuracy", "code_perplexity")
    optional: ClassVar[tuple[str, ...]] = ("mask", "quantizer", "target", "prediction")
    sizes: ClassVar[str] = " of contrast.groups, contrast.entries, .width and .projected"
    kind: ClassVar[type[EncoderModel]] = Wav2Vec2Model

    def draw(self, random: Keys, batch: Batch) -> Drawn:
        model, cfg = self.model, self.cfg.contrast
        inputs = model.prepare(batch)
        tokens = model.token_count(inputs.values.shape[1:])
        mask = model.draw_mask(random.named("mask"), tokens, model.padding(inputs))
        places = mask.hidden_ids_nu.shape[1]
        counts_n = mask.weight_nu.sum(1).astype(jnp.int32)
        negatives = contrast.draw_negatives(
            random.named("negatives").each_n, counts_n, places, cfg.negatives
        )
        shape = (places, cfg.groups, cfg.entries)
        return Drawn(inputs, mask, negatives, quantizer.noise(random.named("noise").each_n, shape))

    def counts(self, drawn: Drawn) -> dict[str, jax.Array]:
        return {"hidden": drawn.mask.weight_nu.sum()}

    def noise_temperature(self, step: jax.Array | int) -> jax.Array:
        """Of the softmax that gradients see, after so many updates."""
        cfg = self.cfg.contrast
        falling = cfg.noise_start * jnp.exp(step * math.log(cfg.noise_decay))
        return jnp.maximum(falling, cfg.noise_end).astype(jnp.float32)

    def loss(
        self,
        params: Tree,
        carried: Tree,
        drawn: Drawn,
        random: Keys,
        whole: Mapping[str, jax.Array],
        step: jax.Array,
    ) -> tuple[jax.Array, Metrics]:
        del carried
        temperature = self.noise_temperature(step)
        answer = self.apply(
            params, drawn.inputs, drawn.mask, drawn.noise_nugv, temperature, random, method="answer"
        )
        total, metrics, _ = self.terms(answer, drawn.mask, drawn.negatives_nuk)
        one = jnp.float32(1)
        state = {
            "noise_temperature": (temperature, one),
            "hidden_share": (drawn.mask.hidden_nt.mean(dtype=jnp.float32), one),
        }
        return total / whole["hidden"], metrics | state

    def terms(
        self, answer: Answer, mask: Mask, negatives_nuk: jax.Array
    ) -> tuple[jax.Array, Metrics, jax.Array]:
        """-> (the sum over hidden frames, its terms, logits [n, u, 1 + k] with the true one first).

        Diversity and penalty, which are no sums, count once for every hidden frame.
        """
        cfg, weight_nu = self.cfg.contrast, mask.weight_nu
        codes_nug = answer.quantized.codes_nug
        cosines_nuu = speech.cosines(answer.predictions_nuf, answer.targets_nuf, cfg.temperature)
        logits = contrast.logits(cosines_nuu, codes_nug, negatives_nuk)
        each_nu = jax.nn.logsumexp(logits, -1) - logits[..., 0]
        count, one = weight_nu.sum(), jnp.float32(1)
        soft, hard = contrast.perplexities(answer.quantized.logits_nugv, weight_nu)
        most = cfg.groups * cfg.entries
        diversity, penalty = (most - soft) / most, speech.penalty(answer.heard.raw_btc)
        contrastive = (each_nu * weight_nu).sum()
        total = contrastive + count * (cfg.diversity * diversity + cfg.penalty * penalty)
        metrics = {
            "contrastive": (contrastive, count),
            "diversity": (diversity, one),
            "penalty": (penalty, one),
            "accuracy": (speech.guessed(logits, weight_nu), count),
            "perplexity": (soft, one),
            "code_perplexity": (hard, one),
        }
        return total, metrics, logits

    def check(self, example_shapes: tuple[tuple[int, ...], ...]) -> None:
        super().check(example_shapes)
        cfg = self.cfg.contrast
        require_multiple("contrast.width", cfg.width, "contrast.groups", cfg.groups)
        require(
            cfg.noise_end <= cfg.noise_start and cfg.noise_decay > 0,
            f"contrast.noise_end={cfg.noise_end} must not exceed contrast.noise_start="
            f"{cfg.noise_start}, and contrast.noise_decay={cfg.noise_decay} must be positive",
        )
        for shape in example_shapes:
            tokens = self.cfg.frontend.token_count(shape)
            most = masking.hidden_most(self.cfg.mask, tokens)
            require(
                most > 1,
                f"mask.share={self.cfg.mask.share} hides one frame of {tokens}, and negatives are "
                "other hidden frames; hide more",
            )

    def troubles(self, record: Mapping[str, float], warm: bool) -> dict[str, str]:
        found, cfg = {}, self.cfg.contrast
        used, groups = record["code_perplexity"], cfg.groups
        if used < 1.1 * groups and cfg.entries > 2:
            found["codebook"] = (
                f"code perplexity {used:.1f} of {groups * cfg.entries}: all frames fall on one "
                "entry of each codebook, and a low loss means nothing. Raise contrast.diversity "
                "or contrast.noise_end, or lower optimizer.learning_rate."
            )
        if warm and record["accuracy"] < 1.5 / (1 + cfg.negatives):
            found["accuracy"] = (
                f"the true entry is found in {100 * record['accuracy']:.1f} % of the hidden frames,"
                " no more often than by chance: nothing is learnt yet. Lengthen the warm-up or "
                "lower optimizer.learning_rate."
            )
        return found

    def multiply_adds(self, tokens: int) -> float:
        cfg, width = self.cfg.contrast, self.cfg.trunk.width
        hidden = masking.hidden_most(self.cfg.mask, tokens)
        channels = self.cfg.frontend.conv_layers[-1][0]
        entries = cfg.groups * cfg.entries
        each = channels * entries + entries * cfg.width // cfg.groups
        each += (cfg.width + width + hidden) * cfg.projected
        return hidden * each
