"""A trained encoder in the hand: parameters as a plain tree, features as NumPy arrays."""

import dataclasses
import functools
import pathlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from d2v_jax.common import rng, settings, trees
from d2v_jax.common.checks import UserError
from d2v_jax.common.trees import Tree
from d2v_jax.encoder.masking import EXACTLY
from d2v_jax.encoder.model import EncoderModel
from d2v_jax.encoder.network import Encoded, Tokens
from d2v_jax.encoder.sections import EncoderConfig
from d2v_jax.frontends.frontend import Inputs
from d2v_jax.interop.huggingface import hf_files
from d2v_jax.interop.ours import safetensors_io
from d2v_jax.supervised import heads
from d2v_jax.train.recipe import resolve as configs
from d2v_jax.train.recipe.records import Config
from d2v_jax.transfer import batches, reading

PADDING = ("independent", "original")


@dataclasses.dataclass(frozen=True)
class Encoder:
    """Frozen features of one parameter tree.

    `params` is the whole model's nested dict of float32 arrays; `teacher` only the parts the
    teacher owns, or None where the checkpoint has none; `head` what fine-tuning put on top, as
    {"kind", "params", ...}, or None.
    """

    recipe: Config
    params: Tree
    teacher: Tree | None
    head: dict[str, Any] | None
    step: int

    @property
    def config(self) -> EncoderConfig:
        """What kind of encoder this is."""
        return self.recipe.objective.encoder

    def as_teacher(self) -> "Encoder":
        """The same encoder with the teacher's numbers."""
        if self.teacher is None:
            raise UserError("this checkpoint holds no teacher; take the student's features")
        return dataclasses.replace(self, params={**self.params, **self.teacher}, head=None)

    @settings.fixed()
    def untrained(self, seed: int = 0) -> "Encoder":
        """The same architecture with fresh random parameters, for comparison."""
        shape = self.recipe.data.example_shape
        init = jax.jit(lambda key: self.recipe.objective.init(key, shape))
        params = init(rng.stream(seed, "untrained"))
        return dataclasses.replace(self, params=params, teacher=None, head=None, step=0)

    @settings.fixed()
    def save(self, folder: str | pathlib.Path) -> None:
        """Writes a folder that `load`, `init_from` and `--config` take: its weights and recipe.

        A folder of an earlier `save` is replaced, any other refused. The recipe is saved as it
        stands here: speech to be trained on as before is opened with `padding="original"`.
        """
        path = pathlib.Path(folder).expanduser()
        if path.exists() and not path.is_dir():
            raise UserError(f"{path} is a file; name a folder to save into")
        old = hf_files.optional_json(path / hf_files.CONFIG) or {}
        if path.exists() and any(path.iterdir()) and old.get("format") != safetensors_io.FORMAT:
            raise UserError(
                f"{path} holds something other than a saved encoder; save into a new folder, so "
                "that nothing is overwritten"
            )
        fields = configs.to_fields(self.recipe)
        configs.resolve(fields)  # surgery may have made it impossible
        content = {"recipe": fields, "step": self.step, "origin": "saved from Python"}
        beside = None if self.recipe.objective.own_head else self.head
        safetensors_io.save(path, self.params, self.teacher, beside, content)

    @settings.fixed()
    def features(
        self,
        inputs: Any,
        layer: str | int = "last",
        pool: str | None = "mean",
        standardise: bool = True,
    ) -> np.ndarray | list[np.ndarray]:
        """Features of each example, in the order given; float32.

        `inputs`: images uint8 [b, y, x, c] of the recipe's size; waves at 16 kHz, a list of
        [s] of any lengths, float or int16, standardised here unless `standardise` is False;
        texts, a list of strings or of id arrays [t]. `layer`: "last", "average" (mean over the
        trunk's blocks), "all" (their concatenation, [b, depth * d]) or a trunk block's number
        from 0. `pool`: "mean" over the tokens that are not padding, or None for all of them,
        then [b, t, d] for images and a list of [t, d] otherwise. Prefix tokens are dropped. An
        example's features do not depend on those it is computed beside.
        """
        layer = parse_layer(layer, self.config.trunk.depth)
        if pool not in ("mean", None):
            raise UserError(f"pool={pool!r} is not 'mean' or None")
        run = functools.partial(_features, layer=layer, pool=pool)
        found = self._each(batches.cut(self.recipe, inputs, standardise), run)
        same = pool or None not in self.config.frontend.grid
        return np.stack(found) if same else found

    @settings.fixed()
    def logits(self, inputs: Any, standardise: bool = True) -> np.ndarray | list[np.ndarray]:
        """What the head makes of each example, inputs as for `features`.

        [b, c], a list of [t, c] for "ctc", and of a pooler [b, d].
        """
        if self.head is None:
            raise UserError("this checkpoint has no head; take its features")
        static = tuple(
            (name, value)
            for name, value in sorted(self.head.items())
            if isinstance(value, str | int | float)
        )
        run = functools.partial(_logits, about=static)
        found = self._each(batches.cut(self.recipe, inputs, standardise), run, self.head["params"])
        return found if self.head["kind"] == "ctc" else np.stack(found)

    def _each(self, cut: Iterator[batches.Batch], run: Any, *more: Any) -> list[np.ndarray]:
        """`run` on batches of one shape each; what it gives per token ends where tokens do."""
        results: dict[int, np.ndarray] = {}
        for batch in cut:
            out, real_b = run(self.config, self.params, Inputs(*batch.inputs), *more)
            out, real_b = np.asarray(out), np.asarray(real_b)
            for row, index in enumerate(batch.order):
                results[index] = out[row, : real_b[row]] if out.ndim == 3 else out[row]
                if not np.isfinite(results[index]).all():
                    raise self._overflow(index)
        return [results[i] for i in range(len(results))]

    def _overflow(self, index: int) -> UserError:
        sizes = {name: float(np.abs(leaf).max()) for name, leaf in trees.leaves(self.params)}
        name = max(sizes, key=sizes.__getitem__)
        return UserError(
            f"example {index}: NaN or infinite numbers come out. The weights are finite, but go up "
            f"to {sizes[name]:.3g} (in {name}): training had diverged, or the file was changed. "
            "Use an earlier checkpoint of the run, or fetch the file again"
        )


@functools.partial(jax.jit, static_argnums=0, static_argnames=("layer", "pool"))
def _features(
    config: EncoderConfig, params: Tree, inputs: Inputs, layer: str | int, pool: str | None
) -> tuple[jax.Array, jax.Array]:
    tokens, encoded = _encode(config, params, inputs)
    outs = [block.out[:, config.trunk.prefix_tokens :] for block in encoded.trunk.layers]
    match layer:
        case "last":
            x_btd = encoded.out[:, config.trunk.prefix_tokens :]
        case "average":
            x_btd = sum(outs) / len(outs)
        case "all":
            x_btd = jnp.concatenate(outs, -1)
        case number:
            x_btd = outs[number]
    x_btd = x_btd.astype("float32")
    weight_bt = jnp.ones(x_btd.shape[:2])
    if tokens.padding_bt is not None:
        weight_bt = (~tokens.padding_bt).astype("float32")
    real_b = weight_bt.sum(1)
    if pool == "mean":
        share_bt = weight_bt / jnp.maximum(real_b, 1)[:, None]
        x_btd = jnp.einsum("btd,bt->bd", x_btd, share_bt, precision=EXACTLY)
    return x_btd, real_b.astype("int32")


@functools.partial(jax.jit, static_argnums=0, static_argnames="about")
def _logits(
    config: EncoderConfig, params: Tree, inputs: Inputs, head_params: Tree, about: tuple
) -> tuple[jax.Array, jax.Array]:
    tokens, encoded = _encode(config, params, inputs)
    head = {**dict(about), "params": head_params}
    entered = heads.entered(head, encoded)
    out = heads.apply(head, entered, config.trunk.prefix_tokens, tokens.padding_bt)
    real_b = jnp.full(len(tokens.x_btd), tokens.x_btd.shape[1])
    if tokens.padding_bt is not None:
        real_b = (~tokens.padding_bt).sum(1)
    return out, real_b


def _encode(config: EncoderConfig, params: Tree, inputs: Inputs) -> tuple[Tokens, Encoded]:
    model = EncoderModel(config)
    tokens = model.tokens(params, inputs)
    return tokens, model.contextualize(params, tokens)


def parse_layer(layer: str | int, depth: int) -> str | int:
    """Returns "last", "average", "all" or a block number; raises `UserError` for anything else."""
    if layer in ("last", "average", "all"):
        return layer
    if str(layer).isdigit() and int(layer) < depth:
        return int(layer)
    raise UserError(
        f"layer={layer!r} is not 'last', 'average', 'all' or a block number from 0 to {depth - 1}"
    )


@settings.fixed()
def load(path: str | pathlib.Path, padding: str = "independent") -> Encoder:
    """Opens anyone's checkpoint: a run, a folder of ours or Hugging Face's, a .pt, a .pth.

    `padding`: "independent" keeps padded frames of speech out of the position stack, so that
    features do not depend on how far a wave was padded; "original" does as the code that
    trained the model (T16).
    """
    if padding not in PADDING:
        raise UserError(f"padding={padding!r} is not one of {', '.join(PADDING)}")
    loaded = reading.read(path)
    return of(loaded, padding)


def of(loaded: reading.Loaded, padding: str = "independent") -> Encoder:
    """The encoder of a checkpoint that was read."""
    recipe, objective = loaded.recipe, loaded.recipe.objective
    if objective.encoder is None:
        raise UserError(
            f"a model of objective={recipe.objective_name!r} has no encoder of ours, so there are "
            "no features to take; d2v inspect shows what it holds"
        )
    if padding == "independent" and objective.encoder.positions.add == "conv":
        positions = dataclasses.replace(objective.encoder.positions, zero_padding="each_layer")
        recipe = recipe.with_sections(positions=positions)
    return Encoder(recipe, loaded.params, loaded.carried, loaded.head, loaded.step)
