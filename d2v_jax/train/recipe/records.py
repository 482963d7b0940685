"""A resolved recipe: frozen records. Beyond the door nobody sees a ConfigDict or has a default."""

import dataclasses
import re
from typing import Any

from d2v_jax.common import schedules
from d2v_jax.common.checks import require
from d2v_jax.common.fields import anything, below_one, not_negative, one_of, positive, share
from d2v_jax.data.modality import Data
from d2v_jax.encoder.objective import Objective
from d2v_jax.frontends.frontend import Frontend


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    learning_rate: float = positive()
    schedule: str = one_of(*schedules.SHAPES)
    warmup_steps: int = not_negative()
    hold_steps: int = not_negative()
    start_share: float = share()
    end_share: float = share()
    adam: str = one_of("fairseq", "torch")
    b1: float = below_one()
    b2: float = below_one()
    eps: float = not_negative()
    weight_decay: float = not_negative()
    decays: str = one_of("all", "matrices")
    layer_decay: float = positive()
    decay_before: bool = anything()
    same_end: bool = anything()
    rates: tuple[tuple[str, float], ...] = anything()
    frozen: tuple[tuple[str, int], ...] = anything()
    clip: float = not_negative()


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    steps: int = positive()
    batch_size: int = positive()
    micro_batches: int = positive(free=True)
    log_every: int = positive(free=True)
    checkpoint_every: int = positive(free=True)
    keep: int = positive(free=True)
    keep_best: int = not_negative(free=True)
    best_metric: str = anything(free=True)
    stop_after: float = not_negative(free=True)
    most_skipped: int = positive(free=True)


@dataclasses.dataclass(frozen=True)
class EvalConfig:
    every: int = not_negative(free=True)
    source: str = anything(free=True)
    split: str = anything(free=True)
    examples: int = not_negative(free=True)
    metrics: tuple[str, ...] = anything(free=True)


@dataclasses.dataclass(frozen=True)
class Config:
    """What a run does. `modality` and `objective_name` are what the recipe calls the two."""

    recipe: str
    modality: str
    objective_name: str
    seed: int
    mesh: str
    profile: str
    init_from: str
    data: Data
    objective: Objective
    optimizer: OptimizerConfig
    eval: EvalConfig
    train: TrainConfig

    @property
    def system(self) -> str:
        """What checkpoints of such a run are called: "v2_image", ..."""
        return self.objective.system(self.modality)

    @property
    def frontend(self) -> Frontend:
        return self.objective.cfg.frontend

    def with_sections(self, **sections: Any) -> "Config":
        """The same with other records in sections of its objective, unchecked."""
        cfg = dataclasses.replace(self.objective.cfg, **sections)
        objective = dataclasses.replace(self.objective, cfg=cfg)
        return dataclasses.replace(self, objective=objective)

    @property
    def items(self) -> tuple[str, str]:
        """What the trained and the carried tree are called in checkpoints."""
        return self.objective.params_name, self.objective.carried_name

    @property
    def profiled_steps(self) -> tuple[int, int] | None:
        """First and last step to trace, of `profile`. Raises `ConfigError` where it is neither
        empty nor understood.
        """
        if not self.profile:
            return None
        found = re.fullmatch(r"steps:(\d+)\.\.(\d+)", self.profile)
        steps = (int(found[1]), int(found[2])) if found else (1, 0)
        require(
            0 < steps[0] <= steps[1],
            f"profile={self.profile!r} is not understood; write steps:FIRST..LAST, as in "
            "'steps:10..12'",
        )
        return steps


def sections_of(config: Config) -> dict[str, Any]:
    """The records of a recipe by the names of its sections."""
    cfg = config.objective.cfg
    own = {field.name: getattr(cfg, field.name) for field in dataclasses.fields(cfg)}
    engine = {name: getattr(config, name) for name in ("optimizer", "eval", "train")}
    return {"data": config.data, **own, **engine}
