"""Recomputes the recorded numbers of the original implementations and compares.

    python tests/golden.py DIR [DIR ...]

Each DIR holds one case (config.json, checkpoint.pt, arrays.npz). The checkpoint is read by
`d2v_jax.interop`, everything is computed by `d2v_jax.data2vec`. One line per quantity: case,
array, error, tolerance; exit code 1 when any is above it or was not computed.
"""

import json
import pathlib
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from d2v_jax.common import trees
from d2v_jax.data2vec import masking, objective, targets, teacher
from d2v_jax.data2vec.decoder import fill
from d2v_jax.data2vec.model import Model, Network
from d2v_jax.interop import fairseq
from d2v_jax.train import config as configs

# A correct float32 port stays within a few times the recorded distance to float64.
SLACK = 5
SCALAR = 1e-5  # relative; a recorded scalar error is one lucky draw
FLOOR = 1e-6  # relative to the largest entry, where the record is luckier than float32 allows
# Inputs, and the order in which the original happened to sort equal keys.
GIVEN = ("input/", "mask", "ids_keep_original_order")


def main(folders: list[str]) -> int:
    """Checks every folder; returns the exit code."""
    jax.config.update("jax_default_matmul_precision", "highest")
    failures = 0
    for folder in folders:
        path = pathlib.Path(folder)
        lines = failed = 0
        for name, error, tolerance in check(path):
            bad = not error <= tolerance
            lines, failed = lines + 1, failed + bad
            print(f"{path.name:12} {name:72} {error:9.2e} {tolerance:9.2e} {'FAIL' if bad else ''}")
        print(f"{path.name}: {lines - failed} passed, {failed} failed")
        failures += failed
    return int(failures > 0)


def read(folder: pathlib.Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The case's config.json and arrays.npz."""
    return json.loads((folder / "config.json").read_text()), dict(np.load(folder / "arrays.npz"))


def check(folder: pathlib.Path) -> Iterator[tuple[str, float, float]]:
    """Yields (array, absolute error, tolerance) for every recorded quantity of a case."""
    case, recorded = read(folder)
    yield from differences(case, recorded, v2_image(folder, case, recorded))


def differences(
    case: Mapping[str, Any], recorded: Mapping[str, np.ndarray], recomputed: tuple
) -> Iterator[tuple[str, float, float]]:
    """Yields (array, absolute error, tolerance), recorded quantities that lack a partner too."""
    computed, gradients, moved, imported = recomputed
    accuracy = case["float32_accuracy"]
    remaining = {name for name in recorded if not name.startswith(GIVEN)}
    for name in sorted(name for name in remaining if name in computed):
        remaining.discard(name)
        yield name, *compare(computed[name], recorded[name], accuracy["arrays"].get(name))

    share = accuracy["grad_worst_error_relative_to_largest_entry_of_the_same_gradient"]
    reference = imported.convert_student(part(recorded, "grad/"))
    largest = max(float(np.abs(g).max()) for _, g in trees.leaves(reference))
    for (path, ours), (theirs_path, theirs) in zip(
        trees.leaves(gradients), trees.leaves(reference), strict=True
    ):
        assert path == theirs_path, f"gradient of {path} against {theirs_path}"
        # Gradients that are zero in exact arithmetic are noise of the whole's size.
        size = max(float(np.abs(theirs).max()), 1e-3 * largest)
        yield f"grad/{path}", distance(ours, theirs), max(SLACK * share, FLOOR) * size
    remaining -= {name for name in remaining if name.startswith("grad/")}

    reference = imported.convert_teacher(part(recorded, "ema_after/"))
    for (path, ours), (theirs_path, theirs) in zip(
        trees.leaves(moved), trees.leaves(reference), strict=True
    ):
        assert path == theirs_path, f"teacher's {path} against {theirs_path}"
        yield f"ema_after/{path}", *compare(ours, theirs, accuracy["arrays"].get("ema_after/*"))
    remaining -= {name for name in remaining if name.startswith("ema_after/")}

    for name in sorted(remaining):
        yield f"{name} (not computed)", float("inf"), 0.0


def compare(
    ours: Any, theirs: np.ndarray, accuracy: Mapping[str, float] | None
) -> tuple[float, float]:
    """(absolute error, tolerance): SLACK times the recorded accuracy, or relative for scalars."""
    size = float(np.abs(theirs).max())
    if theirs.dtype.kind in "iub":
        return distance(ours, theirs), 0.0
    if theirs.ndim == 0:
        return distance(ours, theirs), SCALAR * size
    floor = FLOOR * size
    return distance(ours, theirs), max(SLACK * accuracy["max_abs_error"], floor)


def distance(ours: Any, theirs: np.ndarray) -> float:
    """Largest absolute difference; infinite for different shapes or NaN."""
    ours = np.asarray(ours)
    if ours.shape != theirs.shape:
        return float("inf")
    difference = np.abs(ours.astype(np.float64) - theirs.astype(np.float64)).max()
    return float(difference) if np.isfinite(difference) else float("inf")


def part(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """The entries below a prefix, without it."""
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}


def v2_image(folder: pathlib.Path, case: dict, recorded: dict[str, np.ndarray]):
    """-> (arrays, gradients, moved teacher, the imported checkpoint)."""
    inputs = jnp.asarray(recorded["input/source"].transpose(0, 2, 3, 1))
    hidden_nt = jnp.asarray(recorded["mask"])
    imported = fairseq.read_fairseq(folder / "checkpoint.pt", images_per_device=len(inputs))
    model = Model(configs.resolve(imported.config).model)
    cfg, prefix = model.cfg, model.cfg.trunk.prefix_tokens
    student = jax.tree.map(jnp.asarray, imported.student)
    owned = jax.tree.map(jnp.asarray, imported.teacher)
    visible = int((~recorded["mask"][0]).sum())
    mask = masking.highest_scores_visible(-hidden_nt.astype(jnp.float32), visible)
    keys_n = jax.random.split(jax.random.key(0), len(hidden_nt))
    modality = f"{cfg.modality.upper()}_regression"

    @jax.jit
    def forward(student):
        tokens_btd = model.tokens(student, inputs)
        targets_btd = objective.teacher_targets(model, student, owned, inputs, tokens_btd)
        targets_nud = objective.hidden_targets(targets_btd, mask)
        predictions = model.predict(student, tokens_btd, mask, keys_n)
        total, terms = objective.losses(model, predictions, targets_btd, targets_nud)
        return total, (tokens_btd, targets_btd, targets_nud, predictions, terms)

    (total, aux), gradients = jax.jit(jax.value_and_grad(forward, has_aux=True))(student)
    tokens_btd, targets_btd, targets_nud, predictions, terms = aux

    @jax.jit
    def stages(student):
        encoded = model.contextualize(student, tokens_btd, mask)
        filled = fill(encoded.out[:, prefix:], mask, keys_n, cfg.decoder.noise_std)
        everywhere = jnp.tile(jnp.arange(hidden_nt.shape[1]), (len(hidden_nt), 1))
        decode = lambda network: network.decoder(filled, everywhere)
        decoded = Network(cfg).apply({"params": student}, method=decode)
        params = teacher.overlay(student, owned)
        whole = model.contextualize(params, model.tokens(params, inputs))
        return encoded, filled, decoded, whole, model.contextualize(student, tokens_btd)

    encoded, filled, decoded, whole, features = stages(student)
    count = mask.hidden_ids_nu.size
    width = targets_btd.shape[-1]
    arrays = {
        "local_features": tokens_btd,
        "ids_keep": mask.visible_ids_nv,
        "student/prenet_out": enters_trunk(encoded),
        "student/encoder_out": encoded.out,
        "student/decoder_in": filled,
        "student/decoder_out": decoded,
        "pred_masked": predictions.hidden_nud.reshape(-1, width),
        "teacher/prenet_out": enters_trunk(whole),
        "targets": targets_btd,
        "targets_masked": targets_nud.reshape(-1, width),
        f"loss/{modality}/sum": terms["regression"][0],
        f"loss/{modality}/mean": terms["regression"][0] / (count * width),
        "sample_size": np.int64(count),
        "total_loss": total * count,
        "total_loss_per_sample": total,
        "target_var": objective.channel_std(targets_nud),
        "pred_var": objective.channel_std(predictions.hidden_nud),
        "masked_pct": 1 - visible / hidden_nt.shape[1],
        "features/nopad/post_input_norm": features.normed,
        "features/nopad/x": features.out,
    }
    if "cls" in terms:
        factor = cfg.loss.cls_weight * count / terms["cls"][1]
        arrays["loss/cls/sum"] = terms["cls"][0] * factor
        arrays["loss/cls/mean"] = arrays["loss/cls/sum"] / (len(hidden_nt) * width)
    for i, layer in enumerate(features.prenet):
        arrays[f"features/nopad/prenet_{i}"] = layer.out
    for i, layer in enumerate(features.trunk):
        arrays[f"features/nopad/block_{i}"] = layer.out
        arrays[f"features/nopad/block_{i}_ffn"] = layer.ffn
        arrays[f"features/nopad/block_{i}_target"] = layer.out
    for i, layer in enumerate(whole.trunk):
        site = (layer.ffn if cfg.targets.site == "ffn" else layer.out)[:, prefix:]
        arrays[f"teacher/layer_{i}"] = site
        arrays[f"teacher/layer_{i}_normed"] = targets.normalize(site, cfg.targets.layer_norms)

    moved = teacher.move(owned, student, case["ema_step"]["decay_used"])
    return arrays, gradients, moved, imported


def enters_trunk(encoded) -> jax.Array:
    """What the first block of the trunk is given."""
    return encoded.prenet[-1].out if encoded.prenet else encoded.normed


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1:]))
