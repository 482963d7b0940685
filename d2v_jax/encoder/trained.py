"""What objectives have in common that train an encoder, with or without something on top."""

import dataclasses
from typing import Any, ClassVar

import jax

from d2v_jax.encoder import objective
from d2v_jax.encoder.model import EncoderModel


@dataclasses.dataclass(frozen=True)
class EncoderObjective(objective.Objective):
    """A subclass has an `encoder.sections.EncoderConfig` for its `cfg`, and says what is learnt."""

    cfg: Any

    params_name: ClassVar[str] = "model"
    kind: ClassVar[type[EncoderModel]] = EncoderModel

    @property
    def model(self) -> Any:
        return self.kind(self.cfg)

    @property
    def dtype(self) -> str:
        return self.cfg.trunk.dtype

    @property
    def loops(self) -> bool:
        return self.cfg.trunk.scan

    @property
    def encoder(self) -> Any:
        return self.cfg

    def init(self, key: jax.Array, example_shape: tuple[int, ...]) -> dict[str, Any]:
        return self.model.init(key, example_shape)

    def system(self, modality: str) -> str:
        """The last name of its module, with the modality."""
        return f"{type(self).__module__.rpartition('.')[2]}_{modality}"
