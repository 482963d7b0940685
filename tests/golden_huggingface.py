"""Recorded outputs of the Hugging Face ports, recomputed by our code."""

import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from d2v_jax.data2vec.model import Model
from d2v_jax.encoder import masking
from d2v_jax.encoder.network import Encoded, Network, Tokens
from d2v_jax.frontends.frontend import Inputs
from d2v_jax.interop.huggingface import hf_read
from d2v_jax.supervised import heads
from d2v_jax.train.recipe import resolve as configs

IGNORED = -100  # a label that is none


def recompute(folder: pathlib.Path, case: dict, recorded: dict[str, np.ndarray]) -> dict[str, Any]:
    """-> arrays by recorded name."""
    imported = hf_read.read_hf(folder / "pretrained")
    model = Model(configs.resolve(imported.config).objective.cfg)
    params = jax.tree.map(jnp.asarray, imported.student)
    arrays: dict[str, Any] = {}
    for kind in ("pad", "nopad", "nomask", "masked"):
        if not any(name.startswith(f"{kind}/") for name in recorded):
            continue
        inputs, padded, mask = read_inputs(kind, recorded)
        tokens = jax.jit(model.tokens)(params, inputs)
        if not padded:
            tokens = Tokens(tokens.x_btd)
        encoded = jax.jit(model.contextualize)(params, tokens, mask)
        one = outputs(model, params, inputs, tokens, encoded)
        if imported.head is not None:
            one |= with_head(imported.head, model, encoded, tokens.padding_bt, case, recorded)
        arrays |= {f"{kind}/{name}": value for name, value in one.items() if value is not None}
    return arrays


def read_inputs(
    kind: str, recorded: dict[str, np.ndarray]
) -> tuple[Inputs, bool, masking.Mask | None]:
    """-> (inputs, whether padding counts, mask)."""
    attention = recorded.get("input/attention_mask")
    if "input/input_values" in recorded:
        lengths = jnp.asarray(attention.sum(1)) if kind == "pad" else None
        return Inputs(jnp.asarray(recorded["input/input_values"]), lengths), kind == "pad", None
    if "input/input_ids" in recorded:
        ids = recorded.get(f"{kind}/input_ids", recorded["input/input_ids"])
        return Inputs(jnp.asarray(ids, jnp.int32)), kind == "pad", None
    pixels = jnp.asarray(recorded["input/pixel_values"].transpose(0, 2, 3, 1))
    mask = None
    if kind == "masked":
        hidden_nt = jnp.asarray(recorded["input/bool_masked_pos"]).astype(bool)
        mask = masking.from_hidden(hidden_nt, int(hidden_nt.sum(1).max()))
    return Inputs(pixels), False, mask


def outputs(
    model: Model, params, inputs: Inputs, tokens: Tokens, encoded: Encoded
) -> dict[str, Any]:
    """What every class returns."""
    one = {"last_hidden_state": encoded.out, "hidden_0": encoded.trunk.entered}
    one |= {f"hidden_{i + 1}": layer.out for i, layer in enumerate(encoded.trunk.layers)}
    if hasattr(model.cfg.frontend, "conv_layers"):
        normed = lambda network: network.frontend.normed(inputs.values)
        one["extract_features"] = Network(model.cfg).apply({"params": params}, method=normed)
        if tokens.padding_bt is not None:
            one["frame_lengths"] = (~tokens.padding_bt).sum(1)
    return one


def with_head(
    head: dict[str, Any], model: Model, encoded: Encoded, padding_bt, case: dict, recorded
) -> dict[str, Any]:
    """The head's output, and the loss where labels are given."""
    result = heads.apply(head, encoded.out, model.cfg.trunk.prefix_tokens, padding_bt)
    if head["kind"].endswith("_pooler"):
        return {"pooler_output": result}
    labels = jnp.asarray(recorded["input/labels"])
    if head["kind"] != "ctc":
        loss = optax.softmax_cross_entropy_with_integer_labels(result, labels).mean()
        return {"logits": result, "loss": loss}
    nothing = labels == IGNORED
    frames = jnp.zeros(result.shape[:2]) if padding_bt is None else padding_bt.astype(float)
    each_b = optax.ctc_loss(
        result, frames, jnp.where(nothing, 0, labels), nothing.astype(float), blank_id=0
    )
    mean = case["model"]["ctc_loss_reduction"] == "mean"
    loss = (each_b / (~nothing).sum(1)).mean() if mean else each_b.sum()
    return {"logits": result, "loss": loss}
