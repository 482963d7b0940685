"""Statistics of corrupted texts beside the originals': BERT and RoBERTa, of pieces and of words."""

import json
import pathlib
import types
from collections.abc import Iterator
from typing import Any

import golden_masks
import jax
import jax.numpy as jnp
import numpy as np

from d2v_jax.baselines import corruption
from d2v_jax.common import rng

SETS = ("bert", "bert_wwm", "roberta", "roberta_wwm")  # the others are of encoder-decoders
PART = 2000  # drawn at once


def check(
    folder: pathlib.Path, only: str | None = None, share: int = 1
) -> Iterator[tuple[str, float, float]]:
    """Yields (quantity, distance, tolerance) of every set, or of one; one in `share` is drawn."""
    about = json.loads((folder / "noise.json").read_text())
    recorded = np.load(folder / "noise.npz")
    for name in SETS if only is None else (only,):
        entry = about[name]
        count = entry["n_draws"] // share
        ours = statistics(*drawn(name, entry["parameters"], recorded[f"{name}/tokens"], count))
        for quantity, noise in entry["sampling_noise"].items():
            if quantity == "explanation":
                continue
            theirs = recorded[f"{name}/{quantity}"]
            if quantity.endswith("_hist"):
                error = golden_masks.histogram_distance(ours[quantity], theirs)
                noise = max(noise, distance_by_chance(theirs))
            else:
                error = float(np.abs(ours[quantity] - theirs).max())
                noise = max(noise, least(quantity, entry))
            yield (
                f"{name}/{quantity}",
                error,
                golden_masks.SLACK * share**0.5 * noise + golden_masks.ROUNDING,
            )


def distance_by_chance(histogram: np.ndarray) -> float:
    """Mean total variation distance of two samples as large as this one, from the same law."""
    share = histogram / histogram.sum()
    return float(0.4 * np.sqrt(2 * share * (1 - share) / histogram.sum()).sum())


def least(quantity: str, entry: dict[str, Any]) -> float:
    """Two recorded sets may agree by luck; nothing is known better than by its standard error."""
    chosen, texts = entry["mean_selected_fraction"], entry["n_draws"]
    if quantity == "mean_selected_fraction":
        return 0.0 if not entry["sampling_noise"][quantity] else 0.005 / texts**0.5
    if quantity.startswith("fraction_"):
        decisions = chosen * entry["parameters"]["T"] * texts / 2  # words have more than a piece
        return (2 * entry[quantity] * (1 - entry[quantity]) / decisions) ** 0.5
    return chosen * (1 / entry["parameters"]["T"] / texts) ** 0.5


def drawn(name: str, p: dict[str, Any], tokens: np.ndarray, count: int):
    """-> (the text, what the encoder sees [count, t], what was chosen [count, t], id of masks)."""
    rule, words = name.split("_")[0], name.endswith("_wwm")
    cfg = corruption.CorruptionConfig(
        rule=rule,
        words=words,
        most=p.get("max_predictions_per_seq", p["T"]),
        mask_share=0.8,
        random_share=0.1,
        kept=(p["cls"], p["sep"]) if rule == "bert" else (),
        separator=p.get("sep", p.get("eos")),
    )
    frontend = types.SimpleNamespace(
        vocab_size=p["vocab_size"], pad_id=p.get("pad", 0), mask_id=p["mask"]
    )
    goes_on = (tokens >= (5 if rule == "bert" else 4)) & (tokens % 3 == 0)
    chosen = p.get("masked_lm_prob", p.get("mask_prob"))
    keys = rng.keys(rng.stream(0, "golden noise"), jnp.arange(count))

    @jax.jit
    def one(each):
        rows = (len(each), len(tokens))
        ids = jnp.broadcast_to(jnp.asarray(tokens, jnp.int32), rows)
        on = jnp.broadcast_to(jnp.asarray(goes_on), rows) if words else None
        return corruption.choose(cfg, frontend, chosen, rng.Keys(keys.all, each), ids, on)

    parts = [one(keys.each_n[i : i + PART]) for i in range(0, count, PART)]
    seen, picked = (np.concatenate([np.asarray(x) for x in both]) for both in zip(*parts))
    return tokens, seen, picked, p["mask"], p["vocab_size"]


def statistics(tokens, seen_nt, chosen_nt, mask: int, vocabulary: int) -> dict[str, np.ndarray]:
    entry = {"parameters": {"T": len(tokens)}}
    found = golden_masks.statistics_1d(chosen_nt, entry)
    masked_nt = chosen_nt & (seen_nt == mask)
    kept_nt = chosen_nt & (seen_nt == tokens) & ~masked_nt
    random_nt = chosen_nt & ~masked_nt & ~kept_nt
    share = lambda part: part.sum() / chosen_nt.sum()
    assert (seen_nt == tokens)[~chosen_nt].all()
    return {
        "selected_count_hist": found["masked_count_hist"],
        "mask_token_count_hist": np.bincount(masked_nt.sum(1)),
        "selected_run_length_hist": found["masked_run_length_hist"],
        "runs_per_sequence_hist": found["runs_per_mask_hist"],
        "position_prob": found["position_prob"],
        "joint_prob_by_lag": found["joint_prob_by_lag"][:16],
        "random_token_hist": np.bincount(seen_nt[random_nt], minlength=vocabulary),
        "mean_selected_fraction": chosen_nt.mean(),
        "fraction_mask": share(masked_nt),
        "fraction_keep": share(kept_nt),
        "fraction_random": share(random_nt),
    }
