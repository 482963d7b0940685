"""Recorded numbers of Hugging Face's wav2vec 2.0 and HuBERT, recomputed by our code."""

import json
import pathlib
from typing import Any

import golden_huggingface
import jax
import jax.numpy as jnp
import numpy as np

from d2v_jax.common import trees
from d2v_jax.encoder import masking
from d2v_jax.encoder.network import Tokens
from d2v_jax.frontends.frontend import Inputs
from d2v_jax.interop.huggingface import hf_read
from d2v_jax.train.recipe import resolve as configs

CASES = ("hf_wav2vec2_pretraining", "hf_hubert")


def recompute(folder: pathlib.Path, case: dict, recorded: dict[str, np.ndarray]):
    """-> (arrays by recorded name, {prefix: (our leaves, their leaves)})."""
    imported = hf_read.read_hf(folder / "pretrained")
    case = case | {"model": json.loads((folder / "pretrained" / "config.json").read_text())}
    objective = configs.resolve(imported.config).objective
    params = jax.tree.map(jnp.asarray, imported.student)
    one = pretraining if imported.head is None else finetuning
    arrays, gradients, their_head = one(imported, objective, params, case, recorded)
    found = {k.removeprefix("grad/"): v for k, v in recorded.items() if k.startswith("grad/")}
    theirs = {k: v for k, v in found.items() if k not in their_head}
    # What hides frames is in the file, and no part of an evaluation.
    unused = {k: np.zeros(s) for rule in imported.layout.student for k, s in _keys(rule)}
    theirs |= {
        k: v for k, v in unused.items() if k.endswith("masked_spec_embed") and k not in found
    }
    pairs = dict(trees.leaves(imported.convert_student(theirs)))
    pairs |= {ours: layout(found[key]) for key, (ours, layout) in their_head.items()}
    return arrays, {"grad/": (gradients, pairs)}


def _keys(rule):
    return zip(rule.theirs, rule.shapes, strict=True)


def pretraining(imported, objective, params, case: dict, recorded: dict[str, np.ndarray]):
    """Their loss is a sum over hidden frames; what they compute at all frames, so do we."""
    values = jnp.asarray(recorded["input/input_values"])
    inputs = Inputs(values, jnp.asarray(recorded["input/attention_mask"].sum(1)))
    hidden_nt = jnp.asarray(recorded["input/mask_time_indices"]).astype(bool)
    mask = masking.from_hidden(hidden_nt, int(hidden_nt.sum(1).max()))
    frames = hidden_nt.shape[1]
    at_hidden = lambda x: jax.vmap(lambda x, i: x[i])(jnp.asarray(x), mask.hidden_ids_nu)
    number_nt = jnp.cumsum(hidden_nt, 1) - 1  # of each hidden frame among those of its row
    places_nuk = at_hidden(recorded["input/sampled_negative_indices"]) % frames
    negatives = jax.vmap(lambda number, place: number[place])(number_nt, places_nuk)
    noise = jnp.asarray(recorded["input/gumbel_noise"])
    temperature = jnp.float32(case["gumbel_temperature"])

    @jax.jit
    def step(params, noise):
        def loss(params):
            answer = objective.apply(
                params, inputs, mask, noise, temperature, None, method="answer"
            )
            total, metrics, _ = objective.terms(answer, mask, negatives.astype(jnp.int32))
            return total, metrics

        return jax.value_and_grad(loss, has_aux=True)(params)

    @jax.jit
    def everywhere(params, noise):
        def run(network):
            heard = network.hear(inputs)
            encoded = network.encode(heard.tokens, mask, None)
            quantized = network.quantizer(heard.normed_btc, noise, temperature)
            return (
                encoded,
                network.prediction(encoded.out),
                network.target(quantized.vectors_nuq),
            )

        return objective.kind.network(objective.cfg).apply({"params": params}, method=run)

    (total, metrics), gradients = step(params, at_hidden(noise))
    count, share = mask.weight_nu.sum(), lambda name, found: found[name][0]
    encoded, projected, targets = everywhere(params, noise)
    arrays = hidden_states(encoded) | {
        "projected_states": projected,
        "projected_quantized_states": targets,
        "loss": total,
        "contrastive_loss": share("contrastive", metrics),
        "diversity_loss": share("diversity", metrics) * count,
        "codevector_perplexity": share("perplexity", metrics),
    }
    (_, found), _ = step(params, None)
    # In evaluation they count the entries that were chosen.
    used, cfg = share("code_perplexity", found), objective.cfg.contrast
    unused = 1 - used / (cfg.groups * cfg.entries)
    arrays |= {
        "eval/projected_quantized_states": everywhere(params, None)[2],
        "eval/contrastive_loss": share("contrastive", found),
        "eval/codevector_perplexity": used,
        "eval/loss": share("contrastive", found) + cfg.diversity * unused * count,
    }
    for kind in ("pad", "nopad"):
        states = features(objective, params, inputs if kind == "pad" else Inputs(values))
        arrays |= {f"features/{kind}/{name}": value for name, value in states.items()}
    return arrays, dict(trees.leaves(gradients)), {}


def hidden_states(encoded) -> dict[str, Any]:
    """The input of the first block, and what comes out of each; no norm behind the last."""
    found = {"hidden_0": encoded.trunk.entered}
    return found | {f"hidden_{i + 1}": layer.out for i, layer in enumerate(encoded.trunk.layers)}


def features(objective, params, inputs: Inputs) -> dict[str, Any]:
    model = objective.model
    tokens = jax.jit(model.tokens)(params, inputs)
    if inputs.lengths_b is None:
        tokens = Tokens(tokens.x_btd)
    encoded = jax.jit(model.contextualize)(params, tokens)
    one = golden_huggingface.outputs(model, params, inputs, tokens, encoded)
    return one | hidden_states(encoded)


def finetuning(imported, objective, params, case: dict, recorded: dict[str, np.ndarray]):
    """The letters of a CTC model, in evaluation mode; its loss with the padding."""
    values = jnp.asarray(recorded["input/input_values"])
    lengths = jnp.asarray(recorded["input/attention_mask"].sum(1))
    head, model = imported.head, objective.model

    def lettered(params, head_params, inputs):
        tokens = model.tokens(params, inputs)
        tokens = tokens if inputs.lengths_b is not None else Tokens(tokens.x_btd)
        encoded = model.contextualize(params, tokens)
        whole = {**head, "params": head_params}
        return golden_huggingface.with_head(
            whole, model, encoded, tokens.padding_bt, case, recorded
        )

    arrays: dict[str, Any] = {}
    for kind, inputs in (("pad", Inputs(values, lengths)), ("nopad", Inputs(values))):
        one = features(objective, params, inputs) | lettered(params, head["params"], inputs)
        arrays |= {f"{kind}/{name}": value for name, value in one.items()}
    arrays["loss"] = arrays["pad/loss"]

    @jax.jit
    def gradients_of(params, head_params):
        loss = lambda *both: lettered(*both, Inputs(values, lengths))["loss"]
        return jax.grad(loss, (0, 1))(params, head_params)

    ours, of_head = gradients_of(params, head["params"])
    found = dict(trees.leaves(ours)) | dict(trees.leaves({"head": of_head}))
    top = {
        "lm_head.weight": ("head/out/kernel", np.transpose),
        "lm_head.bias": ("head/out/bias", np.asarray),
    }
    return arrays, found, top
