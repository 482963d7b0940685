"""Contrastive predictive coding (arXiv:1807.03748, 2002.02848): tell what sound comes next.

Convolutions turn a wave into frames of 10 ms, a recurrent network sums up what has been heard so
far. From its state the frame that follows k steps later is guessed, for k = 1 ... 12, and must be
nearer to the true one than to frames from elsewhere. An example is several windows of one
utterance, each heard by itself: those other frames are of the same speaker, whatever else is in
the batch.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from d2v_jax.baselines import predictors, speech
from d2v_jax.baselines.speech import EXACTLY
from d2v_jax.common.checks import require
from d2v_jax.common.fields import below_one, one_of, positive, require_multiple
from d2v_jax.common.rng import Keys
from d2v_jax.common.trees import Tree
from d2v_jax.encoder import sections as encoder
from d2v_jax.encoder.masking import MaskConfig
from d2v_jax.encoder.model import EncoderModel
from d2v_jax.encoder.network import Encoded, Network, Tokens
from d2v_jax.encoder.objective import Batch, Metrics
from d2v_jax.encoder.sections import PositionsConfig, TrunkConfig
from d2v_jax.frontends.frontend import Frontend, Inputs
from d2v_jax.nn.recurrent import GATES


@dataclasses.dataclass(frozen=True)
class FutureConfig:
    """Fields: configs/cpc.py."""

    window: int = positive()
    steps: int = positive()
    negatives: int = positive()
    predictor: str = one_of("linear", "transformer")
    heads: int = positive()
    hidden: int = positive()
    dropout: float = below_one()


@dataclasses.dataclass(frozen=True)
class CpcConfig:
    frontend: Frontend
    positions: PositionsConfig
    trunk: TrunkConfig
    mask: MaskConfig
    future: FutureConfig


class Drawn(NamedTuple):
    """`inputs` are b * v windows; `negatives` [b, v * p, n] count the v * t frames of an example,
    for each of p places in each of its windows.
    """

    inputs: Inputs
    negatives_bpn: jax.Array


class Answer(NamedTuple):
    """Of n windows: frames, what the recurrent network makes of them, guesses at p places."""

    tokens: Tokens
    encoded: Encoded
    guesses_knpc: jax.Array


class CpcNetwork(Network):
    """The encoder's parts, and `predictor`."""

    def setup(self) -> None:
        super().setup()
        cfg = self.cfg.future
        if cfg.predictor == "linear":
            self.predictor = predictors.Linear(cfg.steps, self.cfg.frontend.channels)
        else:
            self.predictor = predictors.Transformers(cfg.steps, cfg.heads, cfg.hidden, cfg.dropout)

    def answer(self, inputs: Inputs, random: Keys | None) -> Answer:
        keys = None if random is None else random.named("predictor")
        tokens = self.tokens(inputs, None)
        encoded = self.encode(tokens, None, None)
        return Answer(
            tokens, encoded, self.predictor(encoded.out[:, : -self.cfg.future.steps], keys)
        )

    def everything(self, inputs: Inputs, mask: None, random: Keys) -> Any:
        del mask
        return self.answer(windows(inputs, self.cfg.future.window), None)


class CpcModel(EncoderModel):
    network = CpcNetwork


def windows(inputs: Inputs, length: int) -> Inputs:
    """[b, v * length] samples -> [b * v, length]."""
    return Inputs(inputs.values.reshape(-1, length))


def draw_negatives(key: jax.Array, windows: int, frames: int, places: int, each: int) -> jax.Array:
    """[windows * places, each] int32, of the frames of all windows, with replacement.

    Any window and any time but that of the place itself, in whichever window; so never the present,
    but a frame that is to be guessed may be among them.
    """
    keys, shape = jax.random.split(key), (windows, places, each)
    window = jax.random.randint(keys[0], shape, 0, windows)
    later = jax.random.randint(keys[1], shape, 1, max(frames, 2))
    time = (jnp.arange(places)[:, None] + later) % frames
    return (window * frames + time).reshape(windows * places, each)


@dataclasses.dataclass(frozen=True)
class Objective(speech.Sibling):
    """Contrastive predictive coding."""

    cfg: CpcConfig

    sections: ClassVar[type] = CpcConfig
    optional: ClassVar[tuple[str, ...]] = ("predictor",)
    kind: ClassVar[type[EncoderModel]] = CpcModel

    @property
    def loops(self) -> bool:
        return True

    @property
    def frames(self) -> int:
        """Of a window."""
        return self.cfg.frontend.token_count((self.cfg.future.window,))

    @property
    def places(self) -> int:
        """From which all steps ahead lie in the window."""
        return self.frames - self.cfg.future.steps

    def draw(self, random: Keys, batch: Batch) -> Drawn:
        inputs, cfg = self.model.prepare(batch), self.cfg.future
        count = inputs.values.shape[1] // cfg.window
        draw = lambda key: draw_negatives(key, count, self.frames, self.places, cfg.negatives)
        negatives_bpn = jax.vmap(draw)(random.named("negatives").each_n)
        return Drawn(windows(inputs, cfg.window), negatives_bpn)

    def counts(self, drawn: Drawn) -> dict[str, jax.Array]:
        b, p, _ = drawn.negatives_bpn.shape
        return {"places": jnp.float32(b * p)}

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
        count = drawn.inputs.values.shape[0] // drawn.negatives_bpn.shape[0]
        answer = self.apply(params, drawn.inputs, random.views(count), method="answer")
        error_k, right_k, _ = self.terms(answer, drawn.negatives_bpn)
        places = jnp.float32(drawn.negatives_bpn.shape[0] * drawn.negatives_bpn.shape[1])
        last = self.cfg.future.steps
        return error_k.sum() / whole["places"], {
            "contrastive": (error_k.sum(), places),
            "accuracy": (right_k.sum(), places * last),
            "accuracy_1": (right_k[0], places),
            f"accuracy_{last}": (right_k[-1], places),
        }

    def terms(
        self, answer: Answer, negatives_bpn: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """-> (sum of errors by steps ahead, number of hits, logits [k, b, p, 1 + n], truth first).

        What is compared is the mean over channels of the product, as the original does.
        """
        rows = negatives_bpn.shape[0]
        frames_bsc = answer.tokens.x_btd.astype(jnp.float32)
        per_window, channels = frames_bsc.shape[1:]
        frames_bsc = frames_bsc.reshape(rows, -1, channels)
        count, places = frames_bsc.shape[1] // per_window, self.places
        now_p = (jnp.arange(count)[:, None] * per_window + jnp.arange(places)).reshape(-1)

        def ahead(_: None, one: tuple[jax.Array, jax.Array]):
            guesses_npc, step = one
            guesses_bpc = guesses_npc.reshape(rows, -1, channels)
            scores_bps = jnp.einsum("bpc,bsc->bps", guesses_bpc, frames_bsc, precision=EXACTLY)
            true_bp1 = jnp.broadcast_to((now_p + step)[None, :, None], (rows, len(now_p), 1))
            ids_bpn = jnp.concatenate([true_bp1, negatives_bpn], -1)
            logits_bpn = jnp.take_along_axis(scores_bps / channels, ids_bpn, -1)
            error = (jax.nn.logsumexp(logits_bpn, -1) - logits_bpn[..., 0]).sum()
            right = (logits_bpn.argmax(-1) == 0).sum().astype(jnp.float32)
            return None, (error, right, logits_bpn)

        steps = jnp.arange(1, self.cfg.future.steps + 1)
        return jax.lax.scan(jax.checkpoint(ahead), None, (answer.guesses_knpc, steps))[1]

    def check(self, example_shapes: tuple[tuple[int, ...], ...]) -> None:
        encoder.check(self.cfg, example_shapes)
        cfg, frontend, trunk = self.cfg.future, self.cfg.frontend, self.cfg.trunk
        require(
            self.cfg.mask.hide == "none",
            f"mask.hide={self.cfg.mask.hide!r}: objective='cpc' hides nothing and needs 'none'",
        )
        require(
            trunk.block in GATES,
            f"trunk.block={trunk.block!r}: objective='cpc' must not see what it guesses and needs "
            f"one of {', '.join(GATES)}",
        )
        require(
            self.places > 0,
            f"future.window={cfg.window} samples are {self.frames} frames, too few for "
            f"future.steps={cfg.steps}; lengthen the window",
        )
        for (samples,) in example_shapes:
            require(
                samples % cfg.window == 0,
                f"crops of {samples} samples (data.samples, data.buckets) are no multiple of "
                f"future.window={cfg.window}",
            )
        if cfg.predictor == "transformer":
            require(
                trunk.width == frontend.channels,
                f"future.predictor='transformer' needs trunk.width={trunk.width} to be the width "
                f"of the last convolution, {frontend.channels}",
            )
            require_multiple("trunk.width", trunk.width, "future.heads", cfg.heads)

    def troubles(self, record: Mapping[str, float], warm: bool) -> dict[str, str]:
        chance = 1 / (1 + self.cfg.future.negatives)
        if not warm or record["accuracy_1"] >= 1.5 * chance:
            return {}
        return {
            "accuracy": (
                f"the next frame is told from others in {100 * record['accuracy_1']:.1f} % of the "
                "cases, no more often than by chance: nothing is learnt yet. Lengthen the warm-up "
                "or lower optimizer.learning_rate."
            )
        }

    def multiply_adds(self, tokens: int) -> float:
        cfg, channels, width = self.cfg.future, self.cfg.frontend.channels, self.cfg.trunk.width
        places = tokens // self.frames * self.places
        each = width * channels
        if cfg.predictor == "transformer":
            each = 4 * width**2 + 3 * width * self.places + 2 * width * cfg.hidden
        return cfg.steps * places * (each + tokens * channels)
