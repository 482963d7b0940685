"""The student: an encoder with a decoder on top. v1 and v2, all modalities."""

from typing import NamedTuple

import jax

from d2v_jax.common.rng import Keys
from d2v_jax.common.trees import Tree
from d2v_jax.data2vec.decoder import Decoder, fill
from d2v_jax.encoder.masking import Mask
from d2v_jax.encoder.model import EncoderModel
from d2v_jax.encoder.network import Network, Tokens
from d2v_jax.frontends.frontend import Inputs
from d2v_jax.nn.dropout import dropout


class Predictions(NamedTuple):
    hidden_nud: jax.Array  # at the hidden places
    prefix_npd: jax.Array  # encoder output at the prefix tokens


class Student(Network):
    """The encoder's parts, and `decoder`."""

    def setup(self) -> None:
        super().setup()
        cfg = self.cfg
        self.decoder = Decoder(cfg.decoder, cfg.frontend.grid, cfg.trunk.width, cfg.trunk.dtype)

    def predict(self, tokens: Tokens, mask: Mask, random: Keys) -> Predictions:
        prefix = self.cfg.trunk.prefix_tokens
        out_ntd = self.encode(tokens, mask, random).out
        x_ntd = out_ntd[:, prefix:]
        decoder = self.cfg.decoder
        x_ntd = dropout(x_ntd, decoder.input_dropout, random.named("decoder"))
        if self.cfg.mask.hide == "remove":
            x_ntd = fill(x_ntd, mask, random.named("noise").each_n, decoder.noise_std)
        return Predictions(self.decoder(x_ntd, mask.hidden_ids_nu), out_ntd[:, :prefix])

    def everything(self, inputs: Inputs, mask: Mask, random: Keys) -> Predictions:
        """Touches every parameter, for initialisation."""
        return self.predict(self.tokens(inputs, random), mask, random)


class Model(EncoderModel):
    """Pure functions over a parameter tree: the student's, or the teacher's overlay."""

    network = Student

    def predict(self, params: Tree, tokens: Tokens, mask: Mask, random: Keys) -> Predictions:
        """The student's half: hide, encode, decode the hidden. `random` has a key per view."""
        return self._apply(params, tokens, mask, random, method="predict")
