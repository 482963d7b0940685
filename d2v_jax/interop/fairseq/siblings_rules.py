"""The key maps of wav2vec 2.0 and HuBERT: fairseq's names to ours."""

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from d2v_jax.interop import keymap
from d2v_jax.interop.fairseq import v1_rules
from d2v_jax.interop.keymap import Rule
from d2v_jax.interop.layout import Layout, rename


def layout(config: Mapping[str, Any]) -> Layout:
    """The rules of a whole model; there is no teacher."""
    trunk, width = config["trunk"], config["trunk"]["width"]
    normed = "prenet/norm" if trunk["input_norm"] else "trunk/norm"
    rules = [
        *frontend(config, wave_key),
        *positions(config, "encoder.pos_conv.0", ("weight_g", "weight_v")),
        keymap.leaf("mask/embedding", "mask_emb", (width,)),
        *keymap.norm(normed, "encoder.layer_norm", width),
        *v1_rules.blocks("encoder.layers", trunk),
    ]
    if "contrast" in config:
        rules += contrast(config, "vars", "final_proj")
    else:
        rules += clusters(config)
    return Layout(rules, [], [], [], names, dict)


def names(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Their names as the rules know them; parametrizations of newer torch under their old names."""
    return rename(flat, lambda key: key)


def wave_key(i: int, part: str, norm: str) -> str:
    """Where convolution `i` has its "conv" and its "norm"."""
    inside = {"conv": "0", "norm": "2.1" if norm == "each" else "2"}[part]
    return f"feature_extractor.conv_layers.{i}.{inside}"


def frontend(config: Mapping[str, Any], key: Any, theirs: Mapping[str, str] | None = None) -> list:
    """Convolutions, the norm behind them and the projection; `key` says where they are."""
    front, width = config["frontend"], config["trunk"]["width"]
    theirs = theirs or {"norm": "layer_norm", "proj": "post_extract_proj"}
    rules, channels = [], 1
    for i, (channels_out, kernel, _) in enumerate(front["conv_layers"]):
        ours, conv = f"frontend/conv_{i:02d}", key(i, "conv", front["conv_norm"])
        shape = (channels_out, channels, kernel)
        rules.append(keymap.leaf(f"{ours}/kernel", f"{conv}.weight", shape, keymap.out_in_window))
        if front["conv_bias"]:
            rules.append(keymap.leaf(f"{ours}/conv_bias", f"{conv}.bias", (channels_out,)))
        if i == 0 or front["conv_norm"] == "each":
            rules += keymap.norm(ours, key(i, "norm", front["conv_norm"]), channels_out)
        channels = channels_out
    rules += keymap.norm("frontend/norm", theirs["norm"], channels)
    if theirs["proj"] == "post_extract_proj" and channels == width:  # then it is left out
        rules.append(Rule("frontend/proj/kernel", (), (), functools.partial(np.eye, width)))
        return [*rules, Rule("frontend/proj/bias", (), (), functools.partial(np.zeros, width))]
    return rules + keymap.linear("frontend/proj", theirs["proj"], channels, width)


def positions(config: Mapping[str, Any], theirs: str, parts: tuple[str, str]) -> list[Rule]:
    """The single convolution; `parts`: what its length and its direction are called."""
    place, width = config["positions"], config["trunk"]["width"]
    window, inside = place["conv_kernel"], width // place["conv_groups"]
    ours, (gain, direction) = "positions/normed_conv", parts
    return [
        keymap.leaf(f"{ours}/bias", f"{theirs}.bias", (width,)),
        keymap.leaf(
            f"{ours}/gain", f"{theirs}.{gain}", (1, 1, window), np.ravel, lambda g: g[None, None]
        ),
        keymap.leaf(
            f"{ours}/kernel", f"{theirs}.{direction}", (width, inside, window), keymap.out_in_window
        ),
    ]


def contrast(config: Mapping[str, Any], entries: str, prediction: str) -> list[Rule]:
    """What wav2vec 2.0 has on top; Hugging Face calls two of them otherwise."""
    cfg, channels = config["contrast"], config["frontend"]["conv_layers"][-1][0]
    groups, count = cfg["groups"], cfg["entries"]
    flat = (1, groups * count, cfg["width"] // groups)
    return [
        keymap.leaf(
            "quantizer/entries",
            f"quantizer.{entries}",
            flat,
            lambda x: x.reshape(groups, count, -1),
            lambda x: x.reshape(flat),
        ),
        *keymap.linear("quantizer/logits", "quantizer.weight_proj", channels, groups * count),
        *keymap.linear("target", "project_q", cfg["width"], cfg["projected"]),
        *keymap.linear("prediction", prediction, config["trunk"]["width"], cfg["projected"]),
    ]


def clusters(config: Mapping[str, Any]) -> list[Rule]:
    """What HuBERT has on top."""
    cfg, width = config["clusters"], config["trunk"]["width"]
    sets = len(cfg["classes"]) if cfg["untied"] else 1
    rows = (sum(cfg["classes"]), cfg["projected"])
    return [
        *keymap.linear("prediction", "final_proj", width, sets * cfg["projected"]),
        keymap.leaf("clusters/embedding", "label_embs_concat", rows),
    ]
