"""What all supervised objectives have in common: an encoder, a head, a batch with labels."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from d2v_jax.common import trees
from d2v_jax.common.checks import UserError
from d2v_jax.common.rng import Keys
from d2v_jax.common.trees import Tree
from d2v_jax.encoder.masking import Mask
from d2v_jax.encoder.objective import Batch, Fact, Metrics
from d2v_jax.encoder.trained import EncoderObjective
from d2v_jax.frontends.frontend import Inputs
from d2v_jax.supervised import heads, mixing, sections
from d2v_jax.supervised.sections import SupervisedConfig

# Parts of a checkpoint that fine-tuning goes on with; others are only for pretraining.
KEPT = ("frontend", "positions", "prefix", "prenet", "trunk")


class Drawn(NamedTuple):
    inputs: Inputs
    labels: jax.Array
    mask: Mask | None
    channels_bd: jax.Array | None


@dataclasses.dataclass(frozen=True)
class Supervised(EncoderObjective):
    """A subclass says what labels are, and what an answer to them costs."""

    cfg: SupervisedConfig

    sections: ClassVar[type] = SupervisedConfig
    own_head: ClassVar[bool] = True

    @property
    def optional(self) -> tuple[str, ...]:
        """The head, and what stands for hidden tokens; of an untrained encoder all of it."""
        parts = ("head", "mask")
        if self.cfg.start.encoder == "untrained":
            parts += ("frontend", "positions", "prefix", "prenet", "trunk")
        return parts

    def init(self, key: jax.Array, example_shape: tuple[int, ...]) -> dict[str, Any]:
        head, trunk = self.cfg.head, self.cfg.trunk
        layers = trunk.depth + 1 if head.layers == "weighted" else 0
        new = heads.New(head.kind, head.outputs, head.init, head.scale, layers, head.queries)
        fresh = heads.init(jax.random.fold_in(key, 1), new, trunk.width)
        return {**self.model.init(key, example_shape), "head": fresh}

    def begin(
        self, params: Tree, carried: Tree | None, head: Mapping[str, Any] | None
    ) -> tuple[dict[str, Any], list[str]]:
        """The encoder of a checkpoint, its student's or its teacher's; its head where asked for."""
        start, cfg = self.cfg.start, self.cfg
        if start.encoder == "untrained":
            return {}, ["the encoder is untrained"]
        if start.encoder == "teacher":
            if carried is None:
                raise UserError("start.encoder='teacher': the checkpoint holds no teacher")
            params = {**params, **carried}
        kept = {part: tree for part, tree in params.items() if part in KEPT}
        if cfg.mask.hide == "replace" and "mask" in params:
            kept["mask"] = params["mask"]
        if not cfg.trunk.output_norm and "norm" in kept["trunk"]:
            kept["trunk"] = {name: x for name, x in kept["trunk"].items() if name != "norm"}
        said = [f"the encoder is the {start.encoder}'s"]
        if start.head == "checkpoint":
            if head is None or head["kind"] != cfg.head.kind:
                there = "none" if head is None else f"one of kind {head['kind']!r}"
                raise UserError(
                    f"start.head='checkpoint' needs a head of kind {cfg.head.kind!r}, and the "
                    f"checkpoint has {there}; use start.head='new'"
                )
            kept["head"] = head["params"]
        elif head is not None:
            said.append(f"its {head['kind']} head is left behind")
        return kept, said

    def head(self, params: Tree) -> dict[str, Any]:
        cfg = self.cfg.head
        about = {"kind": cfg.kind, "params": params["head"]}
        if cfg.kind in heads.NORMED:
            about["norm_eps"] = cfg.norm_eps
        if cfg.kind == "ctc":
            about["blank"] = cfg.blank
        return about

    def draw(self, random: Keys, batch: Batch) -> Drawn:
        model, cfg = self.model, self.cfg
        inputs, labels = self.mixed(model.prepare(batch), batch["labels"], random)
        mask = None
        if cfg.mask.hide != "none":
            tokens = model.token_count(inputs.values.shape[1:])
            mask = model.draw_mask(random.named("mask"), tokens, model.padding(inputs))
        hidden = mixing.channels(
            cfg.augment, cfg.trunk.width, cfg.mask.neighbours, random.named("channels")
        )
        return Drawn(inputs, labels, mask, hidden)

    def mixed(self, inputs: Inputs, labels: jax.Array, random: Keys) -> tuple[Inputs, jax.Array]:
        """Inputs and labels as `terms` takes them; by default they are left as they are."""
        del random
        return inputs, labels

    def counts(self, drawn: Drawn) -> dict[str, jax.Array]:
        return {"examples": jnp.float32(len(drawn.labels))}

    def answer(
        self, params: Tree, drawn: Drawn, random: Keys
    ) -> tuple[jax.Array, jax.Array | None]:
        """Logits, and which tokens are padding, as training sees the inputs."""
        model = self.model
        tokens = model.tokens(params, drawn.inputs, random.named("tokens"))
        embedding_d = params["mask"]["embedding"] if "mask" in params else None
        x_btd = mixing.hide(
            self.cfg, tokens.x_btd, embedding_d, drawn.mask, drawn.channels_bd, random.named("hide")
        )
        encoded = model.encode(params, tokens._replace(x_btd=x_btd), random.named("encoder"))
        head = self.head(params)
        logits = heads.apply(
            head,
            heads.entered(head, encoded),
            self.cfg.trunk.prefix_tokens,
            tokens.padding_bt,
            self.cfg.head.dropout,
            random.named("head"),
        )
        return logits, tokens.padding_bt

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
        logits, padding_bt = self.answer(params, drawn, random)
        total, metrics = self.terms(logits, padding_bt, drawn.labels)
        return total / whole["examples"], metrics

    def terms(
        self, logits: jax.Array, padding_bt: jax.Array | None, labels: jax.Array
    ) -> tuple[jax.Array, Metrics]:
        """The sum of the examples' losses, float32, and what to report."""
        raise NotImplementedError

    def check(self, example_shapes: tuple[tuple[int, ...], ...]) -> None:
        sections.check(self.cfg, example_shapes)

    def facts(self, params: Tree, carried: Tree | None) -> Sequence[Fact]:
        del carried
        encoder = {part: tree for part, tree in params.items() if part != "head"}
        words = f"{self.cfg.head.kind}, {self.cfg.head.outputs} outputs"
        return [
            Fact("encoder", trees.count(encoder), "parameters"),
            Fact("head", trees.count(params.get("head", {})), words),
        ]
