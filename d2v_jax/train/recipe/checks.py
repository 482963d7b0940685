"""What a recipe may ask for: every value and combination that cannot work is named here."""

from d2v_jax.common import fields
from d2v_jax.common.checks import require
from d2v_jax.train.machine import mesh
from d2v_jax.train.recipe.records import Config, sections_of


def check(config: Config) -> None:
    """Raises `ConfigError` for values and combinations that cannot work."""
    sections = sections_of(config)
    for name, record in sections.items():
        fields.check(record, name)
    require(0 <= config.seed < 2**32, f"seed={config.seed} must lie between 0 and 2**32 - 1")
    _ = config.profiled_steps, mesh.parse(config.mesh)  # these raise where they are no such thing
    data, train = config.data, config.train
    data.check()
    data.check_with(config.frontend, train.batch_size)
    config.objective.check(data.example_shapes)
    _check_schedule(config)
    data.check_batches(train.batch_size, train.micro_batches)


def _check_schedule(config: Config) -> None:
    opt, steps = config.optimizer, config.train.steps
    require(
        opt.warmup_steps + opt.hold_steps <= steps,
        f"optimizer.warmup_steps={opt.warmup_steps} and optimizer.hold_steps={opt.hold_steps} "
        f"exceed train.steps={steps}",
    )
    require(
        opt.schedule != "exponential" or opt.end_share > 0,
        "optimizer.schedule='exponential' never reaches 0; set optimizer.end_share, such as 0.01",
    )
