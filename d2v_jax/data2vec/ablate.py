"""Models that leave one part of a step out, to see what it costs."""

import dataclasses

import jax
import jax.numpy as jnp

from d2v_jax.common import rng
from d2v_jax.common.rng import Keys
from d2v_jax.common.trees import Tree
from d2v_jax.data2vec.model import Model, Predictions
from d2v_jax.encoder.masking import Mask
from d2v_jax.encoder.network import Encoded, Tokens
from d2v_jax.frontends.frontend import Inputs
from d2v_jax.nn.block import Layer
from d2v_jax.nn.trunk import Stack


class _NoFrontend(Model):
    """The student's tokens are noise."""

    def tokens(self, params: Tree, inputs: Inputs, random: Keys | None = None) -> Tokens:
        if random is None:  # the teacher's
            return super().tokens(params, inputs)
        return _noise(self, inputs)


class _NoTeacher(Model):
    """The targets are the teacher's input."""

    def tokens(self, params: Tree, inputs: Inputs, random: Keys | None = None) -> Tokens:
        return _noise(self, inputs) if random is None else super().tokens(params, inputs, random)

    def contextualize(self, params: Tree, tokens: Tokens, mask: Mask | None = None) -> Encoded:
        prefix = ((0, 0), (self.cfg.trunk.prefix_tokens, 0), (0, 0))
        x_ntd = jnp.pad(tokens.x_btd, prefix)
        layers = [Layer(x_ntd, x_ntd)] * self.cfg.trunk.depth
        return Encoded(Stack(x_ntd, [], x_ntd), Stack(x_ntd, layers, x_ntd), None)


class _NoStudent(Model):
    """The decoder reads tokens as they come from the frontend, without positions."""

    def predict(self, params: Tree, tokens: Tokens, mask: Mask, random: Keys) -> Predictions:
        cfg = self.cfg
        trunk = dataclasses.replace(cfg.trunk, depth=0, prenet_depth=0)
        positions = dataclasses.replace(cfg.positions, add="none", bias="none")
        bare = Model(dataclasses.replace(cfg, trunk=trunk, positions=positions))
        return bare.predict(params, tokens, mask, random)


class _NoDecoder(Model):
    """The predictions are what the encoder says of other places."""

    def predict(self, params: Tree, tokens: Tokens, mask: Mask, random: Keys) -> Predictions:
        out_ntd = self._apply(params, tokens, mask, random, method="encode").out
        prefix = self.cfg.trunk.prefix_tokens
        ids_nu1 = (mask.hidden_ids_nu % (out_ntd.shape[1] - prefix))[:, :, None]
        out_nud = jnp.take_along_axis(out_ntd[:, prefix:], ids_nu1, 1)
        return Predictions(out_nud.astype(jnp.float32), out_ntd[:, :prefix])


def _noise(model: Model, inputs: Inputs) -> Tokens:
    """Numbers that follow from the inputs, so that nothing can be worked out beforehand."""
    trunk = model.cfg.trunk
    shape = (len(inputs.values), model.token_count(inputs.values.shape[1:]), trunk.width)
    key = rng.key(inputs.values.reshape(-1)[0].astype(jnp.int32))
    return Tokens(jax.random.normal(key, shape, trunk.dtype), model.padding(inputs))


WITHOUT: dict[str, type[Model]] = {
    "frontend": _NoFrontend,
    "teacher": _NoTeacher,
    "student": _NoStudent,
    "decoder": _NoDecoder,
}
