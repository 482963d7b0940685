"""data2vec as an objective: mask, predict what the teacher makes of the whole, let it follow."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from d2v_jax.common import schedules, trees
from d2v_jax.common.rng import Keys
from d2v_jax.common.trees import Tree
from d2v_jax.data2vec import ablate, flops, health, loss, sections, targets, teacher
from d2v_jax.data2vec.model import Model
from d2v_jax.data2vec.sections import Data2VecConfig
from d2v_jax.data2vec.views import in_parts
from d2v_jax.encoder import objective
from d2v_jax.encoder.masking import Mask
from d2v_jax.encoder.objective import Batch, Fact, Metrics
from d2v_jax.frontends.frontend import Inputs


class Drawn(NamedTuple):
    """What is asked of the student: the inputs, and what of them each view hides."""

    inputs: Inputs
    mask: Mask


@dataclasses.dataclass(frozen=True)
class Objective(objective.Objective):
    """v1 and v2, all modalities. The trained tree is the student, the carried one the teacher."""

    cfg: Data2VecConfig
    kind: type[Model] = Model

    sections: ClassVar[type] = Data2VecConfig
    params_name: ClassVar[str] = "student"
    carried_name: ClassVar[str] = "teacher"
    shown: ClassVar[tuple[str, ...]] = ("target_std",)
    optional: ClassVar[tuple[str, ...]] = ("decoder", "mask")
    parts: ClassVar[tuple[str, ...]] = tuple(ablate.WITHOUT)
    carried_operations: ClassVar[float] = 3.0  # of a moving average

    @property
    def model(self) -> Model:
        return self.kind(self.cfg)

    @property
    def dtype(self) -> str:
        return self.cfg.trunk.dtype

    @property
    def loops(self) -> bool:
        return self.cfg.trunk.scan or self.cfg.mask.micro_views > 1

    @property
    def encoder(self) -> Data2VecConfig:
        return self.cfg

    def init(self, key: jax.Array, example_shape: tuple[int, ...]) -> dict[str, Any]:
        return self.model.init(key, example_shape)

    def carry(self, params: Tree) -> dict[str, Any]:
        return teacher.start(params, self.cfg.teacher.owns)

    def draw(self, random: Keys, batch: Batch) -> Drawn:
        inputs = self.model.prepare(batch)
        tokens = self.model.token_count(inputs.values.shape[1:])
        keys = random.named("mask").views(self.cfg.mask.views)
        return Drawn(inputs, self.model.draw_mask(keys, tokens, self.model.padding(inputs)))

    def counts(self, drawn: Drawn) -> dict[str, jax.Array]:
        return loss.counts(self.cfg.loss, drawn.mask)

    def loss(
        self,
        params: Tree,
        carried: Tree,
        drawn: Drawn,
        random: Keys,
        whole: Mapping[str, jax.Array],
        step: jax.Array,
    ) -> tuple[jax.Array, Metrics]:
        del step
        model, (inputs, mask) = self.model, drawn
        tokens = model.tokens(params, model.hide_inputs(inputs, mask), random.named("tokens"))
        with jax.named_scope("teacher"):
            targets_btd = targets.teacher_targets(model, params, carried, inputs, tokens, mask)

        def answer(mask: Mask, random: Keys) -> tuple[jax.Array, Metrics]:
            """What the student makes of some of the views."""
            targets_nud = targets.hidden_targets(targets_btd, mask)
            with jax.named_scope("student"):
                predictions = model.predict(params, tokens, mask, random)
            total, terms = loss.losses(
                self.cfg.loss, predictions, targets_btd, targets_nud, mask, whole
            )
            state = health.health(
                predictions.hidden_nud, targets_nud, targets_btd, mask, model.padding(inputs)
            )
            return total, terms | state

        keys = random.named("encoder").views(self.cfg.mask.views)
        return in_parts(answer, mask, keys, len(targets_btd), self.cfg.mask.micro_views)

    def after(self, carried: Tree, params: Tree, step: jax.Array) -> tuple[Tree, Metrics]:
        follow = self.cfg.teacher
        decay = schedules.linear_ramp(follow.decay_start, follow.decay_end, follow.decay_steps)
        rate = decay(step)
        return teacher.move(carried, params, rate), {"teacher_decay": (rate, jnp.float32(1))}

    def check(self, example_shapes: tuple[tuple[int, ...], ...]) -> None:
        sections.check(self.cfg, example_shapes)

    def adopt(self, params: Tree, carried: Tree | None) -> tuple[dict[str, Any], str]:
        """The checkpoint's own teacher, or a copy of the student (`teacher.starts_as`)."""
        owns = self.cfg.teacher.owns
        if self.cfg.teacher.starts_as == "student" or carried is None:
            return jax.device_get(teacher.start(params, owns)), "the teacher starts as the student"
        # What a teacher of theirs does not average is the student's.
        owned = {part: carried.get(part, params[part]) for part in owns}
        borrowed = [part for part in owns if part not in carried]
        words = f" (from the student: {', '.join(borrowed)})" if borrowed else ""
        return owned, f"teacher: {', '.join(owns)}{words}"

    def troubles(self, record: Mapping[str, float], warm: bool) -> dict[str, str]:
        return health.troubles(record, warm)

    def system(self, modality: str) -> str:
        """ "v1_audio" ... "v2_text"."""
        return f"{'v2' if self.cfg.mask.hide == 'remove' else 'v1'}_{modality}"

    def facts(self, params: Tree, carried: Tree | None) -> Sequence[Fact]:
        encoder = {part: tree for part, tree in params.items() if part != "decoder"}
        decoder = "the student without its decoder"
        if "decoder" not in params:
            decoder = "there is no decoder"
        return [
            Fact("student", trees.count(params), "parameters"),
            Fact("encoder", trees.count(encoder), f"({decoder})"),
            Fact("teacher", trees.count(carried), f"owned: {', '.join(carried)}")
            if carried
            else Fact("teacher", 0, "none in this checkpoint"),
        ]

    def arithmetic(self, example_shape: tuple[int, ...]) -> dict[str, float]:
        return flops.of_example(self.cfg, example_shape)._asdict()

    def without(self, part: str) -> "Objective":
        return dataclasses.replace(self, kind=ablate.WITHOUT[part])
