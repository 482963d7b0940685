"""An encoder as pure functions over its parameter tree."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from d2v_jax.common.rng import Keys, keys
from d2v_jax.common.trees import Tree
from d2v_jax.encoder import masking
from d2v_jax.encoder.masking import Mask
from d2v_jax.encoder.network import Encoded, Network, Tokens
from d2v_jax.encoder.sections import EncoderConfig
from d2v_jax.frontends.frontend import Inputs, grid_shape


@dataclasses.dataclass(frozen=True)
class EncoderModel:
    """What every objective trains. Subclasses put more on top, through `network`."""

    cfg: EncoderConfig
    network: ClassVar[type[Network]] = Network

    def init(self, key: jax.Array, example_shape: tuple[int, ...]) -> dict[str, Any]:
        """Fresh parameters, float32 (REFERENCE §5.2, §6.2, §7.2, §8.5)."""
        random = keys(key, jnp.zeros(1))
        inputs = Inputs(jnp.zeros((1, *example_shape), self.cfg.frontend.dtype))
        mask = self.example_mask(random, example_shape)
        params = self.network(self.cfg).init(key, inputs, mask, random, method="everything")
        return params["params"]

    def example_mask(self, random: Keys, example_shape: tuple[int, ...]) -> Mask | None:
        """What `init` hides, so that what stands for it gets its parameters."""
        if self.cfg.mask.hide == "none":
            return None
        return self.draw_mask(random, self.token_count(example_shape))

    def token_count(self, example_shape: tuple[int, ...]) -> int:
        """T, tokens of one example of this shape: (samples,), (y, x, c), (ids,) ..."""
        return self.cfg.frontend.token_count(example_shape)

    def prepare(self, batch: Mapping[str, jax.Array]) -> Inputs:
        """A batch as it travels -> what `tokens` takes; see the frontends' `prepare`."""
        return self.cfg.frontend.prepare(batch)

    def padding(self, inputs: Inputs) -> jax.Array | None:
        """Where the tokens of these inputs will be nothing [b, t], or None."""
        return self.cfg.frontend.padding(inputs)

    def draw_mask(self, random: Keys, tokens: int, padding_bt: jax.Array | None = None) -> Mask:
        """One mask per key of `random`, which holds one per view."""
        lengths_n = None
        if padding_bt is not None:
            views = random.each_n.shape[0] // padding_bt.shape[0]
            lengths_n = jnp.repeat((~padding_bt).sum(1), views)
        shape = grid_shape(self.cfg.frontend.grid, tokens)
        return masking.draw(self.cfg.mask, random, shape, lengths_n)

    def hide_inputs(self, inputs: Inputs, mask: Mask) -> Inputs:
        """What the student's frontend may see: `<mask>` for hidden ids, where a recipe hides so."""
        if self.cfg.mask.hide != "input":
            return inputs
        return self.cfg.frontend.hide(inputs, mask.hidden_nt)

    def tokens(self, params: Tree, inputs: Inputs, random: Keys | None = None) -> Tokens:
        """The frontend. `random`, a key per example, switches its dropout on."""
        return self._apply(params, inputs, random, method="tokens")

    def encode(self, params: Tree, tokens: Tokens, random: Keys | None) -> Encoded:
        """Every stage of the encoder, of all tokens. `random`, a key each, switches dropout on."""
        return self._apply(params, tokens, None, random, method="encode")

    def contextualize(self, params: Tree, tokens: Tokens, mask: Mask | None = None) -> Encoded:
        """Every stage of the encoder, without dropout; of all tokens, or as a mask leaves them."""
        return self._apply(params, tokens, mask, None, method="encode")

    def _apply(self, params: Tree, *args: Any, method: str) -> Any:
        return self.network(self.cfg).apply({"params": params}, *args, method=method)
