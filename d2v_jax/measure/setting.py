"""A recipe's step, ready to be lowered for devices that are there or not."""

from collections.abc import Sequence
from typing import Any

import jax

from d2v_jax.measure.leave_out import compile_without
from d2v_jax.train import state
from d2v_jax.train.machine import mesh as meshes
from d2v_jax.train.recipe.records import Config


class Setting:
    """The step of a recipe on batches of one of its lengths, the longest unless said."""

    def __init__(
        self,
        config: Config,
        without: str | None = None,
        devices: Sequence[jax.Device] | None = None,
        length: int = -1,
    ):
        """`without` one of the objective's `parts`, or "update"; `length` counts those of `data`.

        `devices` may be such as a compiler only pretends (`slices.find`); by default all.
        """
        self.config = config
        self.mesh = meshes.make_mesh(config.mesh, devices)
        sizes = config.data.batch_sizes(config.train.batch_size)
        meshes.check_batch(sizes, config.train.micro_batches, self.mesh)
        self.example_shape, self.examples = config.data.example_shapes[length], sizes[length]
        self.shapes = jax.eval_shape(lambda: state.create(config))
        self.shardings = meshes.state_sharding(self.shapes, self.mesh)
        self.keeps = without == "update"  # the state stays as it is
        self._jitted = compile_without(without, config, self.mesh, self.shardings)

    @property
    def batch(self) -> dict[str, Any]:
        """The shapes of a batch."""
        return abstract_batch(self.config, self.example_shape, self.examples)

    @property
    def products(self) -> dict[str, float]:
        """Floating-point operations of a step's matrix products by hand, by part, all devices."""
        each = self.config.objective.arithmetic(self.example_shape)
        return {name: self.examples * flops for name, flops in each.items()}

    def lower(self) -> jax.stages.Lowered:
        return self._jitted.lower(self.shapes, self.batch)


def abstract_batch(config: Config, shape: tuple[int, ...], size: int) -> dict[str, Any]:
    """The shapes of a batch as the loader delivers it."""
    forms = config.data.form(shape, size)
    return {name: jax.ShapeDtypeStruct(*one) for name, one in forms.items()}
