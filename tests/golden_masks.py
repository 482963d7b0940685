"""Statistics of 20,000 masks of each sampler beside those of the originals."""

import json
import math
import pathlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from d2v_jax.common import rng
from d2v_jax.encoder import masking
from d2v_jax.encoder.sections import MaskConfig

LAGS = 32  # of joint probabilities
ROUNDING = 1e-6  # shares and counts went through float32
SLACK = 2.5  # times the difference of two independent sets of the originals


def check(
    folder: pathlib.Path, only: str | None = None, share: int = 1
) -> Iterator[tuple[str, float, float]]:
    """Yields (quantity, distance, tolerance) of every recorded set, or of one.

    One in `share` of the masks is drawn; the noise then is larger by the root of that.
    """
    about = json.loads((folder / "masks.json").read_text())
    recorded = np.load(folder / "masks.npz")
    for name, entry in about.items():
        if only not in (None, name):
            continue
        masks = sample(name, entry["parameters"], entry["n_masks"] // share)
        ours = statistics_2d(masks) if masks.ndim == 3 else statistics_1d(masks, entry)
        ours["mean_masked_fraction"] = fraction(masks, entry)
        for quantity, noise in entry["sampling_noise"].items():
            if quantity == "explanation":
                continue
            if quantity == "mean_masked_fraction":
                # Two sets may agree by luck; the mean itself is known no better than this.
                error = abs(ours[quantity] - entry["mean_masked_fraction"])
                noise = max(noise, entry["standard_error_of_mean"])
            elif quantity.endswith("_hist"):
                error = histogram_distance(ours[quantity], recorded[f"{name}/{quantity}"])
            else:
                if quantity == "joint_prob_by_lag":  # moves with the mean, however lucky the pair
                    moves = entry["mean_masked_fraction"] * entry["standard_error_of_mean"]
                    noise = max(noise, moves)
                error = float(np.abs(ours[quantity] - recorded[f"{name}/{quantity}"]).max())
            yield f"{name}/{quantity}", error, SLACK * share**0.5 * noise + ROUNDING
        if "never_masked_positions" in entry:
            never = np.flatnonzero(masks.reshape(len(masks), -1).mean(0) == 0).tolist()
            yield f"{name}/never_masked", float(never != entry["never_masked_positions"]), 0.0


def sample(name: str, p: dict[str, Any], count: int) -> np.ndarray:
    """bool [count, t] or [count, y, x] from our sampler with the original's parameters."""
    config = lambda kind, share, **other: MaskConfig(
        **{
            "hide": "replace",
            "kind": kind,
            "share": share,
            "adjust": 0.0,
            "block": 1,
            "neighbours": 1,
            "views": 1,
            "micro_views": 1,
            **other,
        }
    )
    match name.split("_"):
        case ["speech", *_]:
            # Our neighbours are as long as the example; rows of several lengths are drawn
            # without any and trimmed here, as a batch of the original's.
            neighbours = 1 if "lengths" in p else p["B"]
            cfg = config("spans", p["prob"], block=p["length"], neighbours=neighbours)
        case ["text", "v2", *_]:
            cfg = config("random", p["prob"])
        case ["text", "v1", *_]:
            cfg = config("clipped_spans", p["prob"], block=p["multiple"])
        case ["image", "v2", *_]:
            cfg = config("inverse_blocks", p["prob"], adjust=p["adjust"], block=p["length"])
        case ["image", "v1", *_]:
            cfg = config("beit", p["num"] / p["window"] ** 2, block=p["min"])
        case _:
            raise ValueError(f"{name}: no sampler of ours corresponds to this set")
    side = p.get("side") or p.get("window")
    shape = (side, side) if side else (p["T"],)
    tokens = math.prod(shape)
    lengths = jnp.asarray(np.resize(p.get("lengths", [tokens]), count))
    keys = rng.keys(rng.stream(0, "golden"), jnp.arange(count))
    draw = jax.jit(lambda keys, lengths: masking.draw(cfg, keys, shape, lengths).hidden_nt)
    parts = [
        np.asarray(draw(rng.Keys(keys.all, keys.each_n[i : i + 2000]), lengths[i : i + 2000]))
        for i in range(0, count, 2000)
    ]
    masks = np.concatenate(parts)
    if "lengths" in p:
        masks = trim(masks, p["B"])
    return masks.reshape(count, side, side) if side else masks


def trim(masks_nt: np.ndarray, batch: int) -> np.ndarray:
    """The original's rule: all rows of a batch keep as many masked places as the least has."""
    noise = np.random.default_rng(0).random(masks_nt.shape)
    least = np.repeat(masks_nt.sum(1).reshape(-1, batch).min(1), batch)
    order = np.argsort(np.argsort(-np.where(masks_nt, noise, -1.0), axis=1), axis=1)
    return order < least[:, None]


def fraction(masks: np.ndarray, entry: dict[str, Any]) -> float:
    """Mean masked share of the valid part."""
    lengths = np.resize(entry["parameters"].get("lengths", [masks[0].size]), len(masks))
    return float((masks.reshape(len(masks), -1).sum(1) / lengths).mean())


def statistics_1d(masks_nt: np.ndarray, entry: dict[str, Any]) -> dict[str, np.ndarray]:
    """Counts, runs and correlations; runs are taken in the valid part of each row."""
    tokens = masks_nt.shape[1]
    lengths = np.resize(entry["parameters"].get("lengths", [tokens]), len(masks_nt))
    runs: dict[bool, list[np.ndarray]] = {True: [], False: []}
    number = []
    for row, length in zip(masks_nt, lengths, strict=True):
        edges = np.flatnonzero(np.diff(row[:length].astype(np.int8))) + 1
        sizes = np.diff(np.concatenate([[0], edges, [length]]))
        first = bool(row[0])
        runs[first].append(sizes[::2])
        runs[not first].append(sizes[1::2])
        number.append(len(sizes[(0 if first else 1) :: 2]))
    joint = [(masks_nt[:, lag:] & masks_nt[:, :-lag]).mean() for lag in range(1, LAGS + 1)]
    return {
        "masked_count_hist": np.bincount(masks_nt.sum(1), minlength=tokens + 1),
        "masked_run_length_hist": np.bincount(np.concatenate(runs[True])),
        "unmasked_run_length_hist": np.bincount(np.concatenate(runs[False])),
        "runs_per_mask_hist": np.bincount(number),
        "position_prob": masks_nt.mean(0),
        "joint_prob_by_lag": np.array(joint),
    }


def statistics_2d(masks_nyx: np.ndarray) -> dict[str, np.ndarray]:
    """Counts and 4-neighbour components."""
    cells = masks_nyx[0].size
    result = {"masked_count_hist": np.bincount(masks_nyx.sum((1, 2)), minlength=cells + 1)}
    for state, pictures in (("masked", masks_nyx), ("visible", ~masks_nyx)):
        sizes, numbers, largest = [], [], []
        for one in pictures:
            labels, _ = ndimage.label(one)
            areas = np.bincount(labels.ravel())[1:]
            sizes.append(areas)
            numbers.append(len(areas))
            largest.append(areas.max())
        result[f"{state}_component_size_hist"] = np.bincount(np.concatenate(sizes))
        result[f"{state}_components_per_mask_hist"] = np.bincount(numbers)
        result[f"{state}_largest_component_hist"] = np.bincount(largest)
    result["position_prob"] = masks_nyx.mean(0)
    horizontal = (masks_nyx[:, :, 1:] == masks_nyx[:, :, :-1]).mean()
    vertical = (masks_nyx[:, 1:] == masks_nyx[:, :-1]).mean()
    result["same_state_neighbour_prob"] = np.array([horizontal, vertical])
    return result


def histogram_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Total variation distance of two histograms, padded to one length."""
    length = max(len(a), len(b))
    a, b = (np.pad(h, (0, length - len(h))) / h.sum() for h in (a, b))
    return float(np.abs(a - b).sum() / 2)
