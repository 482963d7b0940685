"""One recorded pretraining step of BERT, RoBERTa or MAE, recomputed by our code."""

import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from d2v_jax.baselines import bert, mae
from d2v_jax.common import rng, trees
from d2v_jax.encoder import masking
from d2v_jax.encoder.network import Tokens
from d2v_jax.frontends.frontend import Inputs
from d2v_jax.interop.fairseq import reader
from d2v_jax.interop.huggingface import hf_read
from d2v_jax.nn import attention, positions
from d2v_jax.train.recipe import resolve

CASES = ("mae", "hf_bert", "hf_roberta_mlm")
IGNORED = -100


def recompute(folder: pathlib.Path, case: dict, recorded: dict[str, np.ndarray]):
    """-> (arrays by recorded name, {prefix: (our leaves, their leaves)})."""
    if case["case"] == "mae":
        return _mae(reader.read_fairseq(folder / "checkpoint.pt"), recorded)
    return _bert(hf_read.read_hf(folder / "pretrained"), recorded)


def _keys(rows: int) -> rng.Keys:
    """Nothing is dropped in recorded models."""
    return rng.keys(jax.random.key(0), jnp.arange(rows))


def _gradients(imported, objective, params, drawn, rows) -> tuple[float, dict, dict]:
    """-> (loss, metrics, gradients)."""

    @jax.jit
    def answer(params, drawn):
        return objective.loss(params, {}, drawn, _keys(rows), objective.counts(drawn), 0)

    (total, metrics), found = jax.value_and_grad(answer, has_aux=True)(params, drawn)
    return total, metrics, dict(trees.leaves(found))


def _theirs(imported, recorded, prefix: str) -> dict[str, np.ndarray]:
    names = {k.removeprefix(prefix): v for k, v in recorded.items() if k.startswith(prefix)}
    return dict(trees.leaves(imported.convert_student(names)))


def _bert(imported, recorded) -> tuple[dict[str, Any], dict]:
    objective = resolve.resolve(imported.config).objective
    model, params = objective.model, jax.tree.map(jnp.asarray, imported.student)
    arrays: dict[str, Any] = {}
    types = recorded.get("input/token_type_ids")
    for kind in ("pad", "nopad"):
        ids = jnp.asarray(recorded.get(f"{kind}/input_ids", recorded["input/input_ids"]), jnp.int32)
        given = None if types is None or kind == "nopad" else jnp.asarray(types)
        tokens = model.typed(params, Inputs(ids), None, given)
        if kind == "nopad":
            tokens = Tokens(tokens.x_btd)
        encoded = jax.jit(model.contextualize)(params, tokens)
        everywhere = jnp.tile(jnp.arange(ids.shape[1]), (len(ids), 1))
        named = jax.jit(model.answer)(params, tokens, everywhere, None)
        one = {"hidden_0": encoded.trunk.entered}
        one |= {f"hidden_{i + 1}": layer.out for i, layer in enumerate(encoded.trunk.layers)}
        one["logits"] = one["prediction_logits"] = named.ids_buv
        if named.next_b2 is not None:
            one["seq_relationship_logits"] = named.next_b2
            pooler = params["pooler"]
            one["pooler_output"] = jnp.tanh(
                encoded.out[:, 0] @ pooler["kernel"] + pooler["bias"],
            )
        for i in range(objective.cfg.trunk.depth):
            if f"{kind}/attention_{i}" in recorded:
                x_ntd = one[f"hidden_{i}"]
                one[f"attention_{i}"] = _weights(objective, params, i, x_ntd, tokens.padding_bt)
        if kind == "pad" and objective.cfg.frontend.positions == "learned":
            pad = objective.cfg.frontend.pad_id
            one["position_ids"] = jnp.cumsum(ids != pad, 1) * (ids != pad) + pad
        arrays |= {f"{kind}/{name}": value for name, value in one.items()}

    labels = jnp.asarray(recorded["input/labels"])
    chosen_bt = labels != IGNORED
    mask = masking.from_hidden(chosen_bt, int(chosen_bt.sum(1).max()))
    wanted_bu = jnp.take_along_axis(jnp.where(chosen_bt, labels, 0), mask.hidden_ids_nu, 1)
    follows = recorded.get("input/next_sentence_label")
    asks = objective.cfg.sentences.next
    drawn = bert.Drawn(
        Inputs(jnp.asarray(recorded["input/input_ids"], jnp.int32)),
        None if types is None else jnp.asarray(types),
        mask.hidden_ids_nu,
        mask.weight_nu,
        wanted_bu,
        jnp.asarray(follows) if asks else None,
    )
    total, metrics, gradients = _gradients(imported, objective, params, drawn, len(labels))
    error, count = metrics["masked"]
    arrays |= {
        "loss/mlm": error / count,
        "loss/mlm_tf": error / (count + 1e-5),
        "loss/mlm_sum": error,
        "loss/mlm_bits": error / count / np.log(2),
        "sample_size": np.int64(count),
        "loss/total": total,
    }
    if asks:
        arrays["loss/nsp"] = metrics["next"][0] / metrics["next"][1]
    return arrays, {"grad/": (gradients, _theirs(imported, recorded, "grad/"))}


def _weights(objective, params, block: int, x_ntd: jax.Array, padding_nt) -> jax.Array:
    """What attention weighs values with: the identity in their place."""
    heads, own = objective.cfg.trunk.heads, params["trunk"][f"block_{block:02d}"]["attention"]
    qkv = x_ntd @ own["qkv"]["kernel"] + own["qkv"]["bias"]
    q, k, _ = (
        one.reshape(*one.shape[:2], heads, -1).swapaxes(1, 2) for one in jnp.split(qkv, 3, -1)
    )
    logits = q @ k.swapaxes(2, 3) * q.shape[-1] ** -0.5
    if padding_nt is not None:
        logits = jnp.where(padding_nt[:, None, None], attention.HIDDEN_LOGIT, logits)
    return jax.nn.softmax(logits)


def _mae(imported, recorded) -> tuple[dict[str, Any], dict]:
    arrays, pairs = {}, {}
    params = jax.tree.map(jnp.asarray, imported.student)
    image = jnp.asarray(recorded["input/image"].transpose(0, 2, 3, 1))
    hidden_nt = jnp.asarray(recorded["mask"]).astype(bool)
    mask = masking.from_hidden(hidden_nt, int(hidden_nt.sum(1).max()))
    drawn = mae.Drawn(Inputs(image), mask)
    for prefix, normalize in (("", False), ("norm_pix/", True)):
        imported.config["pixels"]["normalize"] = normalize
        objective = resolve.resolve(imported.config).objective
        model, cfg = objective.model, objective.cfg
        total, _, gradients = _gradients(imported, objective, params, drawn, len(image))
        tokens = model.tokens(params, Inputs(image))
        painted = jax.jit(model.paint)(params, tokens, mask, None)
        targets = mae.patches(image, cfg.frontend.patch_size, normalize)
        arrays |= {
            f"{prefix}total_loss": total,
            f"{prefix}targets": targets,
            f"{prefix}loss_per_patch": jnp.square(painted - targets).mean(-1),
        }
        pairs[f"{prefix}grad/"] = (gradients, _theirs(imported, recorded, f"{prefix}grad/"))

    # The original keeps the order in which it drew; ours ascends.
    keep = jnp.asarray(recorded["ids_keep"])
    order = jnp.argsort(jnp.argsort(keep, 1), 1)
    order = jnp.concatenate([jnp.zeros((len(keep), 1), order.dtype), order + 1], 1)
    shuffled = lambda x_nvd: jnp.take_along_axis(x_nvd, order[:, :, None], 1)
    encoded = jax.jit(model.contextualize)(params, tokens, mask)
    whole = jax.jit(model.contextualize)(params, tokens)
    stages = _painter_stages(model, params, encoded.out, mask)
    side, shape, (height, channels) = cfg.frontend.patch_size, cfg.frontend.grid, image.shape[2:]
    code = lambda width: np.pad(positions.sincos(shape, width), ((1, 0), (0, 0)))
    pixels = painted.reshape(-1, *shape, side, side, channels)
    arrays |= {
        "ids_shuffle": jnp.argsort(jnp.asarray(recorded["input/noise"]), axis=1),
        "pos_embed": code(cfg.trunk.width),
        "decoder_pos_embed": code(cfg.painter.width),
        "patch_embed": tokens.x_btd,
        "student/encoder_in": shuffled(encoded.trunk.entered),
        "student/latent": shuffled(encoded.out),
        "student/decoder_embed": shuffled(stages["enter"]),
        "student/decoder_in": stages["stack"].entered,
        "student/decoder_out": stages["stack"].out,
        "pred": painted,
        "unpatchified_pred": pixels.transpose(0, 5, 1, 3, 2, 4).reshape(
            -1, channels, height, height
        ),
        "features/nopad/x": whole.out,
    }
    arrays["ids_restore"] = jnp.argsort(arrays["ids_shuffle"], axis=1)
    arrays["ids_keep"] = arrays["ids_shuffle"][:, : keep.shape[1]]
    for i, layer in enumerate(encoded.trunk.layers):
        arrays[f"student/block_{i}"] = shuffled(layer.out)
        arrays[f"features/nopad/block_{i}"] = whole.trunk.layers[i].out
    for i, layer in enumerate(stages["stack"].layers):
        arrays[f"student/decoder_block_{i}"] = layer.out
    return arrays, pairs


def _painter_stages(model, params, encoded_nvd, mask) -> dict[str, Any]:
    """What the decoder's parts give on the way."""

    def run(network):
        painter = network.decoder
        painter(encoded_nvd, mask)
        return painter.enter(encoded_nvd)

    keep = lambda module, method: module.name in ("blocks",) and method == "__call__"
    enter, found = mae.Autoencoder(model.cfg).apply(
        {"params": params}, method=run, capture_intermediates=keep
    )
    return {"enter": enter, "stack": found["intermediates"]["decoder"]["blocks"]["__call__"][0]}
