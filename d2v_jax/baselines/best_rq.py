"""BEST-RQ (arXiv:2202.01855): name the code that a random, frozen quantizer gives to hidden sound.

Spans of the wave are replaced by noise. For each token of a hidden span the encoder is to name the
code of what was there: the log-mel frames of the token, side by side, are projected at random, and
the code is the nearest of random vectors on the sphere. Neither is ever trained; both follow from
the recipe's `codes.seed` alone, and a checkpoint holds nothing of them.
"""

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from d2v_jax.baselines import mel, speech
from d2v_jax.baselines.speech import EXACTLY
from d2v_jax.common import rng
from d2v_jax.common.checks import require
from d2v_jax.common.fields import not_negative, positive
from d2v_jax.common.rng import Keys
from d2v_jax.common.trees import Tree
from d2v_jax.encoder import masking
from d2v_jax.encoder import sections as encoder
from d2v_jax.encoder.masking import Mask, MaskConfig
from d2v_jax.encoder.model import EncoderModel
from d2v_jax.encoder.network import Network
from d2v_jax.encoder.objective import Batch, Metrics
from d2v_jax.encoder.sections import PositionsConfig, TrunkConfig
from d2v_jax.frontends.frontend import Frontend, Inputs
from d2v_jax.nn import initializers
from d2v_jax.nn.dense import Dense


@dataclasses.dataclass(frozen=True)
class CodesConfig:
    """Fields: configs/bestrq.py."""

    seed: int = not_negative()
    books: int = positive()
    entries: int = positive()
    width: int = positive()
    bands: int = positive()
    noise: float = not_negative()


@dataclasses.dataclass(frozen=True)
class BestRqConfig:
    frontend: Frontend
    positions: PositionsConfig
    trunk: TrunkConfig
    mask: MaskConfig
    codes: CodesConfig


class Drawn(NamedTuple):
    """`inputs` with noise in the hidden places; the codes of what was at the u hidden tokens."""

    inputs: Inputs
    mask: Mask
    codes_nug: jax.Array


class BestRqNetwork(Network):
    """The encoder's parts, and `prediction`: a score for each entry of each codebook."""

    def setup(self) -> None:
        super().setup()
        cfg, init = self.cfg.codes, initializers.torch_default(self.cfg.trunk.width)
        self.prediction = Dense(
            cfg.books * cfg.entries,
            dtype="float32",
            precision=EXACTLY,
            kernel_init=init,
            bias_init=init,
        )

    def scores(self, inputs: Inputs, mask: Mask, random: Keys | None) -> jax.Array:
        """At the hidden tokens, [n, u, g, entries]."""
        cfg, prefix = self.cfg.codes, self.cfg.trunk.prefix_tokens
        keys = None if random is None else random.named("encoder")
        out_ntd = self.encode(self.tokens(inputs, None), None, keys).out[:, prefix:]
        hidden_nud = masking.gather(out_ntd, mask.hidden_ids_nu[:, None])
        scores = self.prediction(hidden_nud.astype(jnp.float32))
        return scores.reshape(*scores.shape[:2], cfg.books, cfg.entries)

    def everything(self, inputs: Inputs, mask: Mask, random: Keys) -> Any:
        return self.scores(inputs, mask, random)


class BestRqModel(EncoderModel):
    network = BestRqNetwork


@functools.cache
def tables(cfg: CodesConfig, inside: int) -> tuple[np.ndarray, np.ndarray]:
    """-> (projection [g, inside, width], Xavier; codebook [g, entries, width] of length 1)."""
    # Drawn once: of draws from constants within a step XLA makes constants too, in minutes.
    with jax.ensure_compile_time_eval():
        init = initializers.xavier_uniform(inside, cfg.width)
        projection = init(rng.stream(cfg.seed, "projection"), (cfg.books, inside, cfg.width))
        shape = (cfg.books, cfg.entries, cfg.width)
        codebook = jax.random.normal(rng.stream(cfg.seed, "codebook"), shape)
        return np.asarray(projection), np.asarray(codebook / speech.length(codebook))


def codes(cfg: CodesConfig, stacked_btf: jax.Array) -> jax.Array:
    """[b, t, g] int32: the entry nearest to the projected features, both of length 1."""
    projection_gfw, codebook_gvw = tables(cfg, stacked_btf.shape[-1])
    projected = jnp.einsum("btf,gfw->btgw", stacked_btf, projection_gfw, precision=EXACTLY)
    projected = projected / speech.length(projected)
    near = jnp.einsum("btgw,gvw->btgv", projected, codebook_gvw, precision=EXACTLY)
    return near.argmax(-1).astype(jnp.int32)


def with_noise(
    wave_bs: jax.Array, hidden_bt: jax.Array, hop: int, field: int, keys: Keys, std: float
):
    """Noise wherever a hidden token sees the wave: `field` samples from each `hop`-th on."""
    samples = wave_bs.shape[1]
    hidden_bs = jnp.repeat(hidden_bt, hop, 1)[:, :samples]
    hidden_bs = jnp.pad(hidden_bs, ((0, 0), (0, max(0, samples - hidden_bs.shape[1]))))
    for _ in range(-(-(field - hop) // hop)):  # a token sees the beginnings of those behind it
        hidden_bs |= jnp.pad(hidden_bs, ((0, 0), (min(hop, field - hop), 0)))[:, :samples]
    noise_bs = jax.vmap(lambda key: jax.random.normal(key, (samples,)))(keys.each_n)
    return jnp.where(hidden_bs, std * noise_bs, wave_bs)


@dataclasses.dataclass(frozen=True)
class Objective(speech.Sibling):
    """BEST-RQ."""

    cfg: BestRqConfig

    sections: ClassVar[type] = BestRqConfig
    optional: ClassVar[tuple[str, ...]] = ("prediction",)
    sizes: ClassVar[str] = " of codes.entries and codes.books"
    shown: ClassVar[tuple[str, ...]] = ("accuracy", "code_perplexity")
    kind: ClassVar[type[EncoderModel]] = BestRqModel

    @property
    def hop(self) -> int:
        """Samples from token to token."""
        return math.prod(stride for *_, stride in self.cfg.frontend.conv_layers)

    @property
    def field(self) -> int:
        """Samples that a token sees."""
        samples = 1
        for _, kernel, stride in reversed(self.cfg.frontend.conv_layers):
            samples = (samples - 1) * stride + kernel
        return samples

    def draw(self, random: Keys, batch: Batch) -> Drawn:
        model, cfg = self.model, self.cfg.codes
        inputs = model.prepare(batch)
        tokens = model.token_count(inputs.values.shape[1:])
        mask = model.draw_mask(random.named("mask"), tokens, model.padding(inputs))
        stacked_btf = mel.stacked(inputs.values, tokens, self.hop, cfg.bands)
        codes_btg = codes(cfg, stacked_btf)
        codes_nug = jnp.take_along_axis(codes_btg, mask.hidden_ids_nu[:, :, None], 1)
        noisy_bs = with_noise(
            inputs.values, mask.hidden_nt, self.hop, self.field, random.named("noise"), cfg.noise
        )
        return Drawn(inputs._replace(values=noisy_bs), mask, codes_nug)

    def counts(self, drawn: Drawn) -> dict[str, jax.Array]:
        return {"hidden": drawn.mask.weight_nu.sum()}

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
        scores = self.apply(params, drawn.inputs, drawn.mask, random, method="scores")
        weight_nu1, books = drawn.mask.weight_nu[:, :, None], self.cfg.codes.books
        error = (speech.cross_entropy(scores, drawn.codes_nug) * weight_nu1).sum() / books
        right = ((scores.argmax(-1) == drawn.codes_nug) * weight_nu1).sum() / books
        count, one = drawn.mask.weight_nu.sum(), jnp.float32(1)
        return error / whole["hidden"], {
            "code": (error, count),
            "accuracy": (right, count),
            "code_perplexity": (self.used(drawn).mean(), one),
            "hidden_share": (drawn.mask.hidden_nt.mean(dtype=jnp.float32), one),
        }

    def used(self, drawn: Drawn) -> jax.Array:
        """How many codes of each book there are among those asked for, as a perplexity, [g]."""
        weight_nu = drawn.mask.weight_nu
        share = lambda codes_nu: jnp.bincount(
            codes_nu.ravel(), weight_nu.ravel() / weight_nu.sum(), length=self.cfg.codes.entries
        )
        return speech.perplexity(jax.vmap(share, -1)(drawn.codes_nug))

    def check(self, example_shapes: tuple[tuple[int, ...], ...]) -> None:
        encoder.check(self.cfg, example_shapes)
        frontend = self.cfg.frontend
        require(
            self.cfg.mask.hide == "noise",
            f"mask.hide={self.cfg.mask.hide!r}: objective='best_rq' needs 'noise'",
        )
        require(
            frontend.conv_style == "wav2vec",
            f"frontend.conv_style={frontend.conv_style!r}: objective='best_rq' needs 'wav2vec', of "
            "whose frames it knows where they lie",
        )
        require(
            self.hop % mel.HOP == 0,
            f"the strides of frontend.conv_layers give a token every {self.hop} samples, which "
            f"must be a multiple of {mel.HOP} (log-mel frames of 10 ms)",
        )

    def troubles(self, record: Mapping[str, float], warm: bool) -> dict[str, str]:
        found, entries = {}, self.cfg.codes.entries
        if record["code_perplexity"] < min(2.0, entries / 2):
            found["codes"] = (
                f"code perplexity {record['code_perplexity']:.1f} of {entries}: nearly all sound "
                "falls on one code, and a low loss means nothing. Is there silence in the place of "
                "recordings? Otherwise set another codes.seed."
            )
        if warm and record["code"] > math.log(entries):
            found["code"] = (
                f"codes are named no better ({record['code']:.2f}) than by chance "
                f"({math.log(entries):.2f}): nothing is learnt yet. Lengthen the warm-up or lower "
                "optimizer.learning_rate."
            )
        return found

    def multiply_adds(self, tokens: int) -> float:
        cfg = self.cfg.codes
        hidden = masking.hidden_most(self.cfg.mask, tokens)
        return hidden * self.cfg.trunk.width * cfg.books * cfg.entries
