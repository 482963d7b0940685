"""Recomputes the recorded numbers of the original implementations and compares.

    python tests/golden.py DIR [DIR ...]

Each DIR holds one case (config.json, arrays.npz and a checkpoint), or the statistics of masks.
The checkpoint is read by `d2v_jax.interop`, everything is computed by `d2v_jax.data2vec`. One
line per quantity: case, array, error, tolerance; exit code 1 when any is above it or was not
computed.
"""

import json
import pathlib
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import golden_cpc
import golden_hf_speech
import golden_huggingface
import golden_masks
import golden_noise
import golden_pretraining
import golden_siblings
import golden_speech
import numpy as np

# A correct float32 port stays within a few times the recorded distance to float64.
SLACK = 5
SCALAR = 1e-5  # relative; a recorded scalar error is one lucky draw
UNRECORDED = 1e-6  # relative float32 accuracy of cases that do not record theirs
FLOOR = 1e-6  # relative to the largest entry, where the record is luckier than float32 allows
# Inputs, the order in which the original happened to sort equal keys, and buffers that it
# averages though they are integers (T20).
GIVEN = ("mask", "ids_keep_original_order", "mfcc/waveform", "kmeans/centers")
# Absolute, where the original computes in float32 what is far larger on the way.
ABSOLUTE = {"mfcc/": 1e-4}
GIVEN_BELOW = ("input/", "ema_after_buffers/")
GIVEN_WORDS = ("/input_padding_mask", "/src_tokens", "/input_ids", "/pixel_values")

Line = tuple[str, float, float]  # quantity, absolute error, tolerance
# What a case recomputes: arrays, gradients by prefix as (ours, theirs), and moved teachers.
Recomputed = tuple[dict[str, Any], dict[str, tuple[dict, dict]]]


def main(folders: list[str]) -> int:
    """Checks every folder; returns the exit code."""
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


def check(folder: pathlib.Path) -> Iterator[Line]:
    """Yields (array, absolute error, tolerance) for every recorded quantity of a case."""
    if (folder / "masks.json").exists():
        yield from golden_masks.check(folder)
        return
    if (folder / "noise.json").exists():
        yield from golden_noise.check(folder)
        return
    case, recorded = read(folder)
    yield from differences(case, recorded, recompute(folder, case, recorded))


def read(folder: pathlib.Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The case's config.json and arrays.npz."""
    return json.loads((folder / "config.json").read_text()), dict(np.load(folder / "arrays.npz"))


def recompute(folder: pathlib.Path, case: dict, recorded: dict[str, np.ndarray]) -> Recomputed:
    """Everything a case records, by our code."""
    if case["case"] in golden_siblings.CASES:
        return golden_siblings.recompute(folder, case, recorded)
    if case["case"] in golden_cpc.CASES:
        return golden_cpc.recompute(folder, case, recorded)
    if case["case"] in golden_hf_speech.CASES:
        return golden_hf_speech.recompute(folder, case, recorded)
    if (folder / "pretrained").exists():
        return golden_huggingface.recompute(folder, case, recorded), {}
    if case["case"] in golden_speech.CASES:
        return golden_speech.recompute(folder, case, recorded)
    return golden_pretraining.recompute(folder, case, recorded)


def differences(
    case: Mapping[str, Any], recorded: Mapping[str, np.ndarray], recomputed: Recomputed
) -> Iterator[Line]:
    """Yields (array, absolute error, tolerance), recorded quantities that lack a partner too."""
    computed, trees = recomputed
    accuracy = case.get("float32_accuracy", {"arrays": {}})
    remaining = {
        name
        for name in recorded
        if name not in GIVEN and not name.startswith(GIVEN_BELOW) and not name.endswith(GIVEN_WORDS)
    }
    for name in sorted(name for name in remaining if name in computed):
        remaining.discard(name)
        noise = accuracy["arrays"].get(name)
        error, limit = compare(computed[name], recorded[name], noise)
        least = next((size for start, size in ABSOLUTE.items() if name.startswith(start)), 0.0)
        yield name, error, max(limit, least)

    for prefix, (ours, theirs) in trees.items():
        for name in sorted(ours.keys() | theirs.keys()):
            if name not in ours or name not in theirs:
                yield f"{prefix}{name} (one side only)", float("inf"), 0.0
        both = sorted(ours.keys() & theirs.keys())
        if "grad" in prefix:
            share = accuracy["grad_worst_error_relative_to_largest_entry_of_the_same_gradient"]
            largest = max(float(np.abs(theirs[name]).max()) for name in both)
            for name in both:
                # Gradients that are zero in exact arithmetic are noise of the whole's size.
                size = max(float(np.abs(theirs[name]).max()), 1e-3 * largest)
                limit = max(SLACK * share, FLOOR) * size
                yield f"{prefix}{name}", distance(ours[name], theirs[name]), limit
        else:
            noise = accuracy["arrays"].get(f"{prefix}*")
            for name in both:
                yield f"{prefix}{name}", *compare(ours[name], theirs[name], noise)
        remaining -= {name for name in remaining if name.startswith(prefix)}

    for name in sorted(remaining):
        yield f"{name} (not computed)", float("inf"), 0.0


def compare(
    ours: Any, theirs: np.ndarray, accuracy: Mapping[str, float] | None
) -> tuple[float, float]:
    """(absolute error, tolerance): SLACK times the recorded accuracy, or relative for scalars."""
    if theirs.dtype.kind == "f" and np.isinf(theirs).any():
        infinite, ours = np.isinf(theirs), np.asarray(ours)
        if ours.shape != theirs.shape or not np.array_equal(ours[infinite], theirs[infinite]):
            return float("inf"), 0.0
        ours, theirs = ours[~infinite], theirs[~infinite]
    size = float(np.abs(theirs).max()) if theirs.size else 0.0
    if theirs.dtype.kind in "iub":
        return distance(ours, theirs), 0.0
    if theirs.ndim == 0:
        return distance(ours, theirs), SCALAR * size
    noise = accuracy["max_abs_error"] if accuracy else UNRECORDED * size
    return distance(ours, theirs), max(SLACK * noise, FLOOR * size)


def distance(ours: Any, theirs: np.ndarray) -> float:
    """Largest absolute difference; infinite for different shapes or NaN."""
    ours = np.asarray(ours)
    if ours.shape != theirs.shape:
        return float("inf")
    if not theirs.size:
        return 0.0
    difference = np.abs(ours.astype(np.float64) - theirs.astype(np.float64)).max()
    return float(difference) if np.isfinite(difference) else float("inf")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1:]))
