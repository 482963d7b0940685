"""One recorded pretraining step of any of the six systems, recomputed by our code."""

import dataclasses
import functools
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from d2v_jax.common import rng, trees
from d2v_jax.data2vec import health, loss, targets, teacher
from d2v_jax.data2vec.decoder import fill
from d2v_jax.data2vec.model import Model, Student
from d2v_jax.encoder import masking
from d2v_jax.encoder.network import Tokens
from d2v_jax.frontends.frontend import Inputs
from d2v_jax.interop.fairseq import reader
from d2v_jax.train.recipe import resolve as configs

# What the originals call the main term of the loss.
TERM = {
    "v1_audio": "regression",
    "v1_text": "main",
    "v1_vision": "smooth_l1",
    "v2_audio": "AUDIO_regression",
    "v2_image": "IMAGE_regression",
    "v2_text": "TEXT_regression",
}


def recompute(folder: pathlib.Path, case: dict, recorded: dict[str, np.ndarray]):
    """-> (arrays by recorded name, {prefix: (our leaves, their leaves)})."""
    system = case["case"]
    inputs = read_inputs(system, recorded)
    imported = reader.read_fairseq(folder / "checkpoint.pt", images_per_device=len(inputs.values))
    model = Model(configs.resolve(imported.config).objective.cfg)
    student = jax.tree.map(jnp.asarray, imported.student)
    owned = jax.tree.map(jnp.asarray, imported.teacher)
    # A part that the original copies at each step lies twice in the file; the main arrays were
    # made with the teacher's, `tied/` with the student's.
    copies = jax.tree.map(jnp.asarray, imported.copies)
    hidden_nt = jnp.asarray(recorded["mask"].reshape(len(recorded["mask"]), -1))
    mask = masking.from_hidden(hidden_nt, int(hidden_nt.sum(1).max()))
    step = Step(model, system, inputs, mask)

    arrays, gradients = step.run(student, {**owned, **copies})
    found = {"grad/": gradients}
    if any(name.startswith("tied/") for name in recorded):
        tied, found["tied/grad/"] = step.run(student, owned)
        arrays |= {f"tied/{name}": value for name, value in tied.items()}
    if system == "v1_text":
        follow = dataclasses.replace(model.cfg.teacher, sees="hidden")
        other = Step(Model(dataclasses.replace(model.cfg, teacher=follow)), system, inputs, mask)
        fed, found["masked_lm_task/grad/"] = other.run(student, {**owned, **copies})
        arrays |= {f"masked_lm_task/{name}": value for name, value in fed.items()}
    arrays |= features(model, student, system, inputs, recorded)
    # What the recorded copies are after a step: the student's.
    moved = teacher.move(owned, student, case["ema_step"]["decay_used"])
    moved |= {part: student[part] for part in copies}

    pairs = {}
    for prefix, ours in (*found.items(), ("ema_after/", moved)):
        names = {k.removeprefix(prefix): v for k, v in recorded.items() if k.startswith(prefix)}
        if names:
            read = imported.convert_teacher if prefix == "ema_after/" else imported.convert_student
            pairs[prefix] = (dict(trees.leaves(ours)), dict(trees.leaves(read(names))))
    return arrays, pairs


def read_inputs(system: str, recorded: dict[str, np.ndarray]) -> Inputs:
    """What the teacher sees, and the student apart from what is hidden."""
    if system == "v1_text":
        return Inputs(jnp.asarray(recorded["input/target_tokens"], jnp.int32))
    source = recorded["input/source"]
    if source.ndim == 4:
        return Inputs(jnp.asarray(source.transpose(0, 2, 3, 1)))
    if source.dtype.kind == "i":
        return Inputs(jnp.asarray(source, jnp.int32))
    padding = recorded.get("input/padding_mask")
    lengths = None if padding is None or not padding.any() else jnp.asarray((~padding).sum(1))
    return Inputs(jnp.asarray(source), lengths)


def random_keys(mask: masking.Mask) -> rng.Keys:
    """One per view; the recorded models drop nothing and fill in no noise."""
    key = jax.random.key(0)
    return rng.Keys(key, jax.random.split(key, len(mask.hidden_nt)))


@dataclasses.dataclass(frozen=True, eq=False)
class Step:
    """Student, teacher, loss and gradients on given inputs and masks."""

    model: Model
    system: str
    inputs: Inputs
    mask: masking.Mask

    @functools.partial(jax.jit, static_argnums=0)
    def forward(self, student, teacher_tree, shown, inputs, mask):
        """-> ((loss, what led to it), gradients)."""
        model = self.model

        def answer(student):
            tokens = model.tokens(student, shown)
            targets_btd = targets.teacher_targets(
                model, student, teacher_tree, inputs, tokens, mask
            )
            targets_nud = targets.hidden_targets(targets_btd, mask)
            predictions = model.predict(student, tokens, mask, random_keys(mask))
            whole = loss.counts(model.cfg.loss, mask)
            total, terms = loss.losses(
                model.cfg.loss, predictions, targets_btd, targets_nud, mask, whole
            )
            return total, (targets_btd, targets_nud, predictions, terms)

        return jax.value_and_grad(answer, has_aux=True)(student)

    @functools.partial(jax.jit, static_argnums=0)
    def stages(self, student, teacher_tree, shown, inputs, mask):
        """-> the student's tokens and encoder, the teacher's encoder, the attention's bias."""
        model = self.model
        tokens = model.tokens(student, shown)
        encoded = model.contextualize(student, tokens, mask)
        params = teacher.overlay(student, teacher_tree)
        match model.cfg.teacher.sees:
            case "tokens":
                seen = tokens
            case "inputs":
                seen = model.tokens(params, inputs)
            case _:
                seen = model.tokens(params, model.cfg.frontend.only(inputs, mask.hidden_nt))
        biased = lambda network: network.positions.bias(mask.visible_ids_nv)
        bias = Student(model.cfg).apply({"params": student}, method=biased)
        return tokens, encoded, model.contextualize(params, seen), bias

    def run(self, student, teacher_tree) -> tuple[dict[str, Any], Any]:
        """-> (arrays by recorded name, gradients)."""
        model, mask, cfg = self.model, self.mask, self.model.cfg
        shown = model.hide_inputs(self.inputs, mask)
        prefix = cfg.trunk.prefix_tokens
        # Everything is an argument: closed over, XLA would spend its time folding constants.
        (total, found), gradients = self.forward(student, teacher_tree, shown, self.inputs, mask)
        targets_btd, targets_nud, predictions, terms = found
        tokens, encoded, whole, bias = self.stages(student, teacher_tree, shown, self.inputs, mask)
        count, width = float(mask.weight_nu.sum()), targets_btd.shape[-1]
        chosen = np.asarray(mask.weight_nu) > 0
        arrays = {
            "local_features": tokens.x_btd,
            "ids_keep": mask.visible_ids_nv,
            "student/prenet_out": encoded.prenet.out,
            "student/encoder_out": encoded.out,
            "student/padding_mask": encoded.padding_nt,
            "student/alibi_bias": bias,
            "pred_masked": predictions.hidden_nud[chosen],
            "teacher/prenet_out": whole.prenet.out,
            "targets": targets_btd,
            "targets_masked": targets_nud[chosen],
            "sample_size": np.int64(count),
            "total_loss": total * (1 if self.system == "v1_vision" else count),
            "total_loss_per_sample": total,
            "target_var": health.channel_std(targets_nud, mask.weight_nu),
            "pred_var": health.channel_std(predictions.hidden_nud, mask.weight_nu),
            "masked_pct": np.asarray(mask.hidden_nt).mean(),
        }
        term, regression = f"loss/{TERM[self.system]}", terms["regression"][0]
        arrays[f"{term}/sum"] = regression
        arrays[f"{term}/mean"] = regression / (count * width)
        if self.system == "v1_vision":  # a mean over D too, where others sum
            arrays[f"{term}/sum"], arrays[f"{term}/mean"] = regression * width, total
        if "cls" in terms:
            arrays["loss/cls/sum"] = terms["cls"][0] * cfg.loss.cls_weight * count / terms["cls"][1]
            arrays["loss/cls/mean"] = arrays["loss/cls/sum"] / (len(mask.hidden_nt) * width)
        if cfg.mask.hide == "remove":
            filled = fill(
                encoded.out[:, prefix:], mask, random_keys(mask).each_n, cfg.decoder.noise_std
            )
            arrays["student/decoder_in"] = filled
            arrays["student/decoder_out"] = decode_everywhere(model, student, filled)
        for i, layer in enumerate(whole.trunk.layers):
            site = (layer.ffn if cfg.targets.site == "ffn" else layer.out)[:, prefix:]
            arrays[f"teacher/layer_{i}"] = site
            arrays[f"teacher/layer_{i}_normed"] = targets.normalize(site, cfg.targets.layer_norms)
        return {name: value for name, value in arrays.items() if value is not None}, gradients


def decode_everywhere(model: Model, params, x_ntd: jax.Array) -> jax.Array:
    """The decoder's or head's output at all places."""
    everywhere = jnp.tile(jnp.arange(x_ntd.shape[1]), (len(x_ntd), 1))
    decode = lambda network: network.decoder(x_ntd, everywhere)
    return Student(model.cfg).apply({"params": params}, method=decode)


def features(
    model: Model, student, system: str, inputs: Inputs, recorded: dict[str, np.ndarray]
) -> dict[str, Any]:
    """The recorded `features/`: nothing masked, with and without the padding mask."""
    arrays: dict[str, Any] = {}
    for kind in ("nopad", "pad"):
        if not any(name.startswith(f"features/{kind}/") for name in recorded):
            continue
        values = recorded.get(f"features/{kind}/src_tokens", inputs.values)
        lengths = inputs.lengths_b if kind == "pad" else None
        tokens = model.tokens(student, Inputs(jnp.asarray(values), lengths))
        if kind == "nopad":
            tokens = Tokens(tokens.x_btd)
        encoded = jax.jit(model.contextualize)(student, tokens)
        layers = encoded.trunk.layers
        one = {
            "post_input_norm": encoded.prenet.entered,
            "post_pos_norm": encoded.prenet.entered,
            "hidden_0": encoded.trunk.entered,
            "x": encoded.out,
            "padding_mask": encoded.padding_nt,
        }
        for i, layer in enumerate(encoded.prenet.layers):
            one[f"prenet_{i}"] = layer.out
        for i, layer in enumerate(layers):
            one[f"block_{i}"] = one[f"block_{i}_target"] = one[f"hidden_{i + 1}"] = layer.out
            one[f"block_{i}_ffn"] = layer.ffn
        if system == "v1_vision":
            patches = encoded.out[:, model.cfg.trunk.prefix_tokens :]
            one["lm_head_all_tokens"] = decode_everywhere(model, student, patches)
            bias = lambda network: network.positions.bias(None)[0]  # one row for all
            one["rel_pos_bias"] = Student(model.cfg).apply({"params": student}, method=bias)
        arrays |= {f"features/{kind}/{n}": v for n, v in one.items() if v is not None}
    return arrays
