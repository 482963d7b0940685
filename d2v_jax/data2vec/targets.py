"""What the student must say: the average of the teacher's last layers, normalised."""

import jax
import jax.numpy as jnp

from d2v_jax.common.trees import Tree
from d2v_jax.data2vec import teacher
from d2v_jax.data2vec.model import Model
from d2v_jax.data2vec.sections import TargetsConfig
from d2v_jax.encoder import masking
from d2v_jax.encoder.masking import Mask
from d2v_jax.encoder.network import Tokens
from d2v_jax.frontends.frontend import Inputs
from d2v_jax.nn.block import Layer
from d2v_jax.nn.norm import standardize

AXIS = {"instance": -2, "layer": -1}  # instance: over T per channel; layer: over D per token


def normalize(x_btd: jax.Array, norms: tuple[str, ...]) -> jax.Array:
    """Applies the named norms in order, in float32, without affine, eps 1e-5."""
    for norm in norms:
        x_btd = standardize(x_btd, AXIS[norm])
    return x_btd


def make_targets(layers: list[Layer], prefix_tokens: int, cfg: TargetsConfig) -> jax.Array:
    """-> targets_btd float32 at all positions, hidden and visible (REFERENCE §8.3).

    Prefix tokens are removed before any norm. The sum grows layer by layer, so the K layers
    need not be kept.
    """
    total_btd = jnp.float32(0)
    for block in cfg.blocks:
        layer = layers[block]
        x_btd = layer.ffn if cfg.site == "ffn" else layer.out
        x_btd = x_btd[:, prefix_tokens:].astype(jnp.promote_types(x_btd.dtype, jnp.float32))
        total_btd = total_btd + normalize(x_btd, cfg.layer_norms)
    return normalize(total_btd / len(cfg.blocks), cfg.final_norms)


def teacher_targets(
    model: Model, student: Tree, teacher_tree: Tree, inputs: Inputs, tokens: Tokens, mask: Mask
) -> jax.Array:
    """What the teacher makes of the whole input -> targets_btd, without gradient or dropout.

    It is shown the student's tokens, or the inputs through its own or borrowed frontend.
    Gradients are stopped where numbers enter: at the parameters and at the tokens.
    """
    params = teacher.overlay(student, teacher_tree)
    match model.cfg.teacher.sees:
        case "inputs":
            tokens = model.tokens(params, inputs)
        case "hidden":
            tokens = model.tokens(params, model.cfg.frontend.only(inputs, mask.hidden_nt))
    layers = model.contextualize(params, jax.lax.stop_gradient(tokens)).trunk.layers
    return make_targets(layers, model.cfg.trunk.prefix_tokens, model.cfg.targets)


def hidden_targets(targets_btd: jax.Array, mask: Mask) -> jax.Array:
    """Each view's targets at its hidden places -> [n, u, d]."""
    batch = targets_btd.shape[0]
    ids_bmu = mask.hidden_ids_nu.reshape(batch, -1, mask.hidden_ids_nu.shape[1])
    return masking.gather(targets_btd, ids_bmu)
