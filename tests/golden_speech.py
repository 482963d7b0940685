"""A recorded step of wav2vec 2.0 or HuBERT, recomputed by our code."""

import dataclasses
import functools
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from d2v_jax.baselines import contrast, hubert
from d2v_jax.common import trees
from d2v_jax.data.audio import alignments, mfcc
from d2v_jax.encoder import masking
from d2v_jax.encoder.network import Tokens
from d2v_jax.frontends.frontend import Inputs
from d2v_jax.interop.fairseq import reader
from d2v_jax.train.recipe import resolve as configs

CASES = ("wav2vec2", "hubert")


def recompute(folder: pathlib.Path, case: dict, recorded: dict[str, np.ndarray]):
    """-> (arrays by recorded name, {prefix: (our leaves, their leaves)})."""
    imported = reader.read_fairseq(folder / "checkpoint.pt")
    fields = imported.config
    if case["case"] == "hubert":
        fields["clusters"]["classes"] = tuple(case["task"]["classes_per_label_set"])
    objective = configs.resolve(fields).objective
    params = jax.tree.map(jnp.asarray, imported.student)
    one = {"wav2vec2": wav2vec2_step, "hubert": hubert_steps}[case["case"]]
    arrays, found = one(objective, params, case, recorded)
    arrays |= features(objective, params, recorded) | units_of(recorded)
    pairs = {}
    for prefix, ours in found.items():
        names = {k.removeprefix(prefix): v for k, v in recorded.items() if k.startswith(prefix)}
        theirs = imported.convert_student(names)
        pairs[prefix] = (dict(trees.leaves(ours)), dict(trees.leaves(theirs)))
    return arrays, pairs


def units_of(recorded: dict[str, np.ndarray]) -> dict[str, Any]:
    """The labels of frames: of MFCCs the nearest center, of crops and short recordings which."""
    arrays: dict[str, Any] = {}
    if "mfcc/waveform" in recorded:
        wave_s = recorded["mfcc/waveform"][0]
        found = mfcc.features(wave_s)
        distances = np.square(found[:, None] - recorded["kmeans/centers"]).sum(-1)
        arrays |= {
            "mfcc/mel_banks": mfcc.mel_banks(),
            "mfcc/log_mel": mfcc.log_mel(wave_s),
            "mfcc/features": found,
            "kmeans/labels": distances.argmin(1),
            "kmeans/inertia_per_frame": distances.min(1).mean(),
        }
    if "align/crop_cases" in recorded:
        rows = [
            (rate, start, samples, whole, labels, *alignments.of_crop(start, samples, rate, labels))
            for rate, start, samples, whole, labels, _, _ in recorded["align/crop_cases"].tolist()
        ]
        arrays["align/crop_cases"] = np.array(rows)
    if "align/trim_cases" in recorded:
        rows = []
        for twice, frames, labels, *_ in recorded["align/trim_cases"].tolist():
            each = np.arange(labels)[None, :, None]
            kept = np.asarray(hubert.aligned(each, frames, twice / 2))[0, :, 0]
            rows.append((twice, frames, labels, len(kept), len(kept), kept[-1], kept.sum()))
        theirs = recorded["align/trim_cases"]
        arrays["align/trim_cases"] = np.array(rows)[:, : theirs.shape[1]]
    return arrays


def inputs_of(recorded: dict[str, np.ndarray], name: str = "input/padding_mask") -> Inputs:
    padding = recorded.get(name)
    lengths = None if padding is None or not padding.any() else jnp.asarray((~padding).sum(1))
    return Inputs(jnp.asarray(recorded["input/source"]), lengths)


def mask_of(recorded: dict[str, np.ndarray]) -> masking.Mask:
    hidden_nt = jnp.asarray(recorded["mask"])
    return masking.from_hidden(hidden_nt, int(hidden_nt.sum(1).max()))


def wav2vec2_step(objective, params, case: dict, recorded: dict[str, np.ndarray]):
    """The step that was taken, and the same batch in evaluation."""
    inputs, mask = inputs_of(recorded), mask_of(recorded)
    rows, hidden = mask.hidden_ids_nu.shape
    first = np.arange(rows)[:, None, None] * hidden
    negatives = jnp.asarray(recorded["input/negative_indices"] - first, jnp.int32)
    temperature = objective.noise_temperature(case["num_updates"])

    @jax.jit
    def step(params, inputs, mask, negatives, noise):
        def loss(params):
            answer = objective.apply(
                params, inputs, mask, noise, temperature, None, method="answer"
            )
            total, metrics, logits = objective.terms(answer, mask, negatives)
            return total / mask.weight_nu.sum(), (answer, metrics, logits)

        return jax.value_and_grad(loss, has_aux=True)(params)

    noise = jnp.asarray(recorded["input/gumbel_noise"])
    (total, found), gradients = step(params, inputs, mask, negatives, noise)
    answer, metrics, logits = found
    (eval_total, (evaluated, eval_metrics, eval_logits)), _ = step(
        params, inputs, mask, negatives, None
    )
    count, cfg = float(mask.weight_nu.sum()), objective.cfg.contrast
    same = contrast.same_codes(answer.quantized.codes_nug, negatives)
    same_eval = contrast.same_codes(evaluated.quantized.codes_nug, negatives)
    infinite = lambda logits: np.where(np.asarray(logits) < -1e8, -np.inf, np.asarray(logits))
    quantized, diversity, penalty = answer.quantized, metrics["diversity"], metrics["penalty"]
    arrays = stages(objective, params, inputs, mask, None) | {
        "pred_masked": answer.predictions_nuf,
        "quantizer/logits": quantized.logits_nugv,
        "quantizer/hard_index": quantized.logits_nugv.argmax(-1),
        "quantizer/soft": quantized.soft_nugv,
        "quantizer/sampled_index": quantized.codes_nug,
        "quantizer/mean_probs": jax.nn.softmax(quantized.logits_nugv).mean((0, 1)),
        "quantizer/out": quantized.vectors_nuq,
        "targets_masked": answer.targets_nuf,
        "negatives_masked": jax.vmap(lambda y, i: y[i])(answer.targets_nuf, negatives),
        "logits": infinite(logits),
        "neg_is_pos": same,
        "diversity": diversity[0],
        "features_pen": penalty[0],
        "prob_perplexity": metrics["perplexity"][0],
        "code_perplexity": metrics["code_perplexity"][0],
        "temperature": temperature,
        "loss/contrastive/sum": metrics["contrastive"][0],
        "loss/contrastive/mean": metrics["contrastive"][0] / count,
        "loss/diversity/sum": cfg.diversity * diversity[0] * count,
        "loss/features_pen/sum": cfg.penalty * penalty[0] * count,
        "total_loss": total * count,
        "total_loss_per_sample": total,
        "sample_size": np.int64(count),
        "correct": metrics["accuracy"][0].astype(int),
        "count": np.int64(count),
        "eval/quantizer_out": evaluated.quantized.vectors_nuq,
        "eval/targets_masked": evaluated.targets_nuf,
        "eval/logits": infinite(eval_logits),
        "eval/neg_is_pos": same_eval,
        "eval/loss/contrastive/sum": eval_metrics["contrastive"][0],
        "eval/total_loss": eval_total * count,
        "eval/correct": eval_metrics["accuracy"][0].astype(int),
    }
    return arrays, {"grad/": gradients}


def hubert_steps(objective, params, case: dict, recorded: dict[str, np.ndarray]):
    """The step with each of the recorded weights."""
    arrays, found = hubert_step(objective, params, recorded)
    second = case.get("second_criterion")
    if second:
        clusters = dataclasses.replace(
            objective.cfg.clusters,
            hidden=float(second["pred_masked_weight"]),
            shown=float(second["pred_nomask_weight"]),
            penalty=float(second["loss_weights"][0]),
        )
        cfg = dataclasses.replace(objective.cfg, clusters=clusters)
        other = dataclasses.replace(objective, cfg=cfg)
        more, gradients = hubert_step(other, params, recorded)
        prefix = second["prefix"]
        arrays |= {f"{prefix}{name}": value for name, value in more.items()}
        found |= {f"{prefix}{name}": value for name, value in gradients.items()}
    return arrays, found


def hubert_step(objective, params, recorded: dict[str, np.ndarray]):
    inputs, mask, cfg = inputs_of(recorded), mask_of(recorded), objective.cfg.clusters
    sets = range(len(cfg.classes))
    labels = jnp.stack([jnp.asarray(recorded[f"input/target_{s}"]) for s in sets], -1)
    frames = objective.model.token_count(inputs.values.shape[1:])
    labels = hubert.aligned(labels, frames, objective.ratio)
    drawn = hubert.Drawn(inputs, mask, labels)

    @jax.jit
    def step(params, drawn):
        def loss(params):
            frames = drawn.labels_nts.shape[1]
            answer = objective.apply(
                params, drawn.inputs, drawn.mask, frames, None, method="answer"
            )
            total, metrics = objective.terms(answer, drawn)
            return total / objective.counts(drawn)["frames"], (answer, metrics)

        return jax.value_and_grad(loss, has_aux=True)(params)

    (total, (answer, metrics)), gradients = step(params, drawn)
    weights = objective.weights(drawn)
    count = float(objective.frames(*weights))
    arrays = stages(objective, params, inputs, mask, labels.shape[1]) | {
        "student/padding_mask": answer.encoded.padding_nt,
        "features_pen": metrics["penalty"][0],
        "loss/features_pen/sum": cfg.penalty * metrics["penalty"][0] * count,
        "total_loss": total * count,
        "total_loss_per_sample": total,
        "sample_size": np.int64(count),
    }
    for s in sets:
        end = f"_{s}" if s else ""
        arrays[f"aligned_target_{s}"] = labels[..., s]
        for kind, long, name, weight in (
            ("m", "masked", "", weights[0]),
            ("u", "unmasked", "shown_", weights[1]),
        ):
            chosen = np.asarray(weight) > 0
            target = np.asarray(labels[..., s])[chosen]
            logits = np.asarray(answer.logits[s])[chosen]
            own = np.take_along_axis(logits, target[:, None], 1)
            others = np.where(np.arange(logits.shape[1]) == target[:, None], -np.inf, logits)
            arrays |= {
                f"pred_{long}": np.asarray(answer.predictions_ntf)[chosen],
                f"target_{long}_{s}": target,
                f"class_logits_{long}_{s}": logits,
                f"logits_{long}_{s}": np.concatenate([own, others], 1),
                f"loss/{kind}_{s}/sum": metrics[f"{name}cluster{end}"][0],
                f"correct_{kind}_{s}": metrics[f"{name}accuracy{end}"][0].astype(int),
                f"count_{kind}_{s}": metrics[f"{name}accuracy{end}"][1].astype(int),
            }
    arrays = {name: value for name, value in arrays.items() if value is not None}
    return arrays, {"grad/": gradients}


def stages(objective, params, inputs: Inputs, mask, frames: int | None) -> dict[str, Any]:
    """What the encoder makes of the batch on its way."""
    heard, encoded, first = _stages(objective, frames, params, inputs, mask)
    one = {
        "conv_features": heard.raw_btc,
        "conv_features_normed": heard.normed_btc,
        "local_features": heard.tokens.x_btd,
        "conv_layer_0_first_64_frames": first[:, :64],
        "student/encoder_out": encoded.out,
    }
    for i, layer in enumerate(encoded.trunk.layers):
        one |= {f"student/block_{i}": layer.out, f"student/block_{i}_ffn": layer.ffn}
    return one


@functools.partial(jax.jit, static_argnums=(0, 1))
def _stages(objective, frames: int | None, params, inputs: Inputs, mask):
    def run(network):
        heard = network.hear(inputs, frames)
        first = network.frontend.conv[0](inputs.values[:, :, None])
        x_btd, padding_bt = heard.tokens
        # The originals record the tokens after what was hidden and padded was overwritten there.
        if mask is not None:
            x_btd = network.mask(x_btd, mask.hidden_nt)
        if padding_bt is not None:
            x_btd = jnp.where(padding_bt[:, :, None], 0, x_btd)
        encoded = network.encode(heard.tokens, mask, None)
        return heard._replace(tokens=Tokens(x_btd, padding_bt)), encoded, first

    return objective.kind.network(objective.cfg).apply({"params": params}, method=run)


def features(objective, params, recorded: dict[str, np.ndarray]) -> dict[str, Any]:
    """The recorded `features/`: nothing masked, with and without the padding mask."""
    arrays: dict[str, Any] = {}
    for kind in ("nopad", "pad"):
        if not any(name.startswith(f"features/{kind}/") for name in recorded):
            continue
        own = f"features/{kind}/input_padding_mask"
        inputs = inputs_of(recorded, own if own in recorded else "input/padding_mask")
        if kind == "nopad":
            inputs = Inputs(inputs.values)
        heard, encoded, _ = _stages(objective, None, params, inputs, None)
        one = {
            "local_features": heard.tokens.x_btd,
            "block_input": encoded.trunk.entered,
            "x": encoded.out,
            "padding_mask": encoded.padding_nt,
        }
        for i, layer in enumerate(encoded.trunk.layers):
            one |= {f"block_{i}": layer.out, f"block_{i}_ffn": layer.ffn}
            one[f"output_layer_{i + 1}"] = layer.out
        if hasattr(objective.kind.network, "units"):
            units = objective.apply(params, inputs, method="units")
            one |= {"quantized": units.vectors_nuq, "code_index": units.codes_nug}
        arrays |= {f"features/{kind}/{n}": v for n, v in one.items() if v is not None}
    return arrays
