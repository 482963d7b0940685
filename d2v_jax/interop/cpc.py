"""Contrastive predictive coding as CPC_audio saves it: names and sizes in ours."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from d2v_jax.common.checks import UserError
from d2v_jax.configs import cpc
from d2v_jax.interop import keymap
from d2v_jax.interop.keymap import Rule

ENCODER, CRITERION = "gEncoder", "cpcCriterion"  # entries of a file
WEIGHTS = "weights"  # what published files have in the place of the first
GATES = {3: "gru", 4: "lstm"}
STRIDES = {10: 5, 8: 4, 4: 2}  # by kernel; no file tells them
NET = f"{ENCODER}/gAR.baseNet."
HEAD = f"{CRITERION}/wPrediction.predictors."
BUFFERS = (".Att.mask", ".Att.z", ".num_batches_tracked")


def is_one(checkpoint: Any) -> bool:
    """Whether these are the entries of such a file."""
    if not isinstance(checkpoint, Mapping):
        return False
    inside = checkpoint.get(ENCODER, checkpoint.get(WEIGHTS))
    return isinstance(inside, Mapping) and any("gEncoder.conv0." in str(key) for key in inside)


def names(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """Both models side by side, under "gEncoder/" and "cpcCriterion/", without buffers."""
    found = {}
    for entry, place in ((ENCODER, ENCODER), (WEIGHTS, ENCODER), (CRITERION, CRITERION)):
        for key, value in (checkpoint.get(entry) or {}).items():
            if not str(key).endswith(BUFFERS):
                found[f"{place}/{str(key).removeprefix('module.')}"] = value
    return found


def config(flat: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of configs/cpc.py; sizes are those of the arrays.

    Raises UserError where an array lacks that tells them, or the model is of another kind.
    """
    fields = cpc.get_config().to_dict()
    fields["recipe"] = "imported_cpc"
    layers = []
    while f"{ENCODER}/gEncoder.conv{len(layers)}.weight" in flat:
        out, _, kernel = _shape(flat, f"{ENCODER}/gEncoder.conv{len(layers)}.weight", 3)
        if kernel not in STRIDES:
            raise UserError(
                f"gEncoder.conv{len(layers)} has a kernel of {kernel}, no published one"
            )
        layers.append((out, kernel, STRIDES[kernel]))
    norm = f"{ENCODER}/gEncoder.batchNorm0."
    if f"{norm}running_mean" in flat or len(_shape(flat, f"{norm}weight", 3)) != 3:
        raise UserError("gEncoder.batchNorm0 is no norm over channels, the only one our model has")
    fields["frontend"]["conv_layers"] = tuple(layers)
    wide, width = _shape(flat, f"{NET}weight_hh_l0", 2)
    if wide // width not in GATES:
        raise UserError("gAR.baseNet is neither a GRU nor an LSTM, the ones our model has")
    depth = sum(key.startswith(f"{NET}weight_hh_l") for key in flat)
    fields["trunk"] |= {"block": GATES[wide // width], "width": width, "depth": depth}
    steps = {key.removeprefix(HEAD).split(".")[0] for key in flat if key.startswith(HEAD)}
    if not steps:
        return fields
    fields["future"] |= {"steps": len(steps), "predictor": "linear"}
    if f"{HEAD}0.weight" not in flat:
        each, places = _shape(flat, f"{HEAD}0.0.multihead.Att.Krelpos", 2)
        hop = int(np.prod([stride for *_, stride in layers]))
        fields["future"] |= {
            "predictor": "transformer",
            "heads": layers[-1][0] // each,
            "hidden": _shape(flat, f"{HEAD}0.0.ffnetwork.lin1.weight", 2)[0],
            "window": (places + len(steps)) * hop,
        }
    window = fields["future"]["window"]
    fields["data"] |= {"samples": 8 * window, "min_samples": window}
    fields["data"]["buckets"] = tuple(count * window for count in (1, 2, 4, 8))
    return fields


def _shape(flat: Mapping[str, Any], key: str, sides: int) -> tuple[int, ...]:
    shape = getattr(flat.get(key), "shape", None)
    if shape is None or len(shape) != sides:
        raise UserError(f"lacks {key.replace('/', ': ')} with {sides} sides, which tells the sizes")
    return tuple(shape)


def rules(fields: Mapping[str, Any], flat: Mapping[str, Any]) -> list[Rule]:
    """Every parameter; the predictors where the file has them."""
    found, channels = [], 1
    for i, (out, kernel, _) in enumerate(fields["frontend"]["conv_layers"]):
        ours, theirs = f"frontend/conv_{i:02d}", f"{ENCODER}/gEncoder.conv{i}"
        shape = (out, channels, kernel)
        found.append(keymap.leaf(f"{ours}/kernel", f"{theirs}.weight", shape, keymap.out_in_window))
        found.append(keymap.leaf(f"{ours}/conv_bias", f"{theirs}.bias", (out,)))
        for name, key in (("scale", "weight"), ("bias", "bias")):
            norm, three = f"{ENCODER}/gEncoder.batchNorm{i}.{key}", (1, out, 1)
            found.append(keymap.leaf(f"{ours}/{name}", norm, three, np.ravel, _apart_norm))
        channels = out
    trunk = fields["trunk"]
    width, gates = trunk["width"], {kind: n for n, kind in GATES.items()}[trunk["block"]]
    for i in range(trunk["depth"]):
        ours, inside = f"trunk/block_{i:02d}", width if i else channels
        for path, key, shape, layout in (
            ("input/kernel", "weight_ih", (gates * width, inside), keymap.out_in),
            ("input/bias", "bias_ih", (gates * width,), keymap.same),
            ("state_kernel", "weight_hh", (gates * width, width), keymap.out_in),
            ("state_bias", "bias_hh", (gates * width,), keymap.same),
        ):
            found.append(keymap.leaf(f"{ours}/{path}", f"{NET}{key}_l{i}", shape, layout))
    if any(key.startswith(HEAD) for key in flat):
        found += _predictors(fields["future"], width, channels)
    return found


def _predictors(future: Mapping[str, Any], width: int, channels: int) -> list[Rule]:
    steps = range(future["steps"])
    if future["predictor"] == "linear":
        keys = [f"{HEAD}{k}.weight" for k in steps]
        return [_stacked("predictor/kernel", keys, (channels, width), turned=True)]
    hidden, each = future["hidden"], channels // future["heads"]
    places = future["window"] // 160 - future["steps"]
    layer, found = "predictor/layer", []
    square = (channels, channels)
    for path, key, shape in (
        *((f"{name}/kernel", f"multihead.W{name[0]}.weight", square)
          for name in ("query", "key", "value", "out")),
        ("distances", "multihead.Att.Krelpos", (each, places)),
        ("norm1/scale", "ln_multihead.weight", (channels,)),
        ("norm1/bias", "ln_multihead.bias", (channels,)),
        ("fc1/kernel", "ffnetwork.lin1.weight", (hidden, channels)),
        ("fc1/bias", "ffnetwork.lin1.bias", (hidden,)),
        ("fc2/kernel", "ffnetwork.lin2.weight", (channels, hidden)),
        ("fc2/bias", "ffnetwork.lin2.bias", (channels,)),
        ("norm2/scale", "ln_ffnetwork.weight", (channels,)),
        ("norm2/bias", "ln_ffnetwork.bias", (channels,)),
    ):  # fmt: skip
        keys = [f"{HEAD}{k}.0.{key}" for k in steps]
        found.append(_stacked(f"{layer}/{path}", keys, shape, path.endswith("kernel")))
    return found


def _stacked(ours: str, keys: Sequence[str], shape: tuple[int, ...], turned: bool) -> Rule:
    shapes = (shape,) * len(keys)
    return Rule(
        ours,
        tuple(keys),
        shapes,
        functools.partial(_stack, turned=turned),
        functools.partial(_unstack, turned=turned),
    )


def _stack(*arrays: np.ndarray, turned: bool) -> np.ndarray:
    return np.stack([array.T if turned else array for array in arrays])


def _unstack(array: np.ndarray, turned: bool) -> list[np.ndarray]:
    return [one.T if turned else one for one in array]


def _apart_norm(array: np.ndarray) -> np.ndarray:
    return array[None, :, None]
