"""The key map of data2vec 2.0 (REFERENCE §14.4): fairseq's names to ours."""

import functools
import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np

from d2v_jax.interop import keymap
from d2v_jax.interop.keymap import Constant, Rule
from d2v_jax.interop.layout import Layout, rename
from d2v_jax.nn import positions


def layout(config: Mapping[str, Any]) -> Layout:
    """The rules of an audio, image or text model; `config` has the recipe's fields."""
    encoder = f"modality_encoders.{config['modality'].upper()}"
    owns, width = config["teacher"]["owns"], config["trunk"]["width"]
    match config["modality"]:
        case "audio":
            frontend = _audio(config, encoder)
        case "image":
            frontend = _image(config, encoder)
        case _:
            frontend = text_frontend(config, f"{encoder}.local_encoder")
    student = [*frontend, *_context(config, encoder), *_decoder(config, encoder)]
    teacher = [rule for rule in student if rule.ours.split("/")[0] in owns]
    constants = []
    if config["modality"] == "image":
        grid = config["data"]["image_size"] // config["frontend"]["patch_size"]
        codes = functools.partial(positions.sincos, (grid, grid), width)
        key = f"{encoder}.fixed_positional_encoder.positions"
        constants = [Constant(key, (1, grid * grid, width), codes, required=True)]
    if tuple(owns) != ("trunk",):
        return Layout(student, teacher, constants, constants, modernize, modernize)
    # A teacher of blocks alone is saved without what stands in front of their numbers.
    bare = [keymap.renamed(rule, _bare) for rule in teacher]
    return Layout(
        student,
        bare,
        constants,
        [],
        modernize,
        lambda flat: rename(modernize(flat), _bare),
    )


def block(ours: str, theirs: str, width: int, mlp: int) -> list[Rule]:
    """A transformer block; the same names in the prenet and in the trunk."""
    return [
        *keymap.norm(f"{ours}/norm1", f"{theirs}.norm1", width),
        *keymap.linear(f"{ours}/attention/qkv", f"{theirs}.attn.qkv", width, 3 * width),
        *keymap.linear(f"{ours}/attention/out", f"{theirs}.attn.proj", width, width),
        *keymap.norm(f"{ours}/norm2", f"{theirs}.norm2", width),
        *keymap.linear(f"{ours}/mlp/fc1", f"{theirs}.mlp.fc1", width, mlp),
        *keymap.linear(f"{ours}/mlp/fc2", f"{theirs}.mlp.fc2", mlp, width),
    ]


def wave_convs(config: Mapping[str, Any], theirs: str) -> list[Rule]:
    """The waveform encoder: convolutions without bias, each with an affine layer norm."""
    rules, channels = [], 1
    for i, (width, kernel, _) in enumerate(config["frontend"]["conv_layers"]):
        ours, name = f"frontend/conv_{i:02d}", f"{theirs}.conv_layers.{i}"
        shape = (width, channels, kernel)
        rules.append(keymap.leaf(f"{ours}/kernel", f"{name}.0.weight", shape, keymap.out_in_window))
        rules += keymap.norm(ours, f"{name}.2.1", width)
        channels = width
    return rules


def conv_positions(config: Mapping[str, Any], theirs: str, start: int) -> list[Rule]:
    """The stack of position convolutions; theirs count from `start`."""
    place, width = config["positions"], config["trunk"]["width"]
    return [
        rule
        for i in range(place["conv_layers"])
        for rule in keymap.conv(
            f"positions/conv_{i:02d}",
            f"{theirs}.{i + start}.0",
            width // place["conv_groups"],
            width,
            (place["conv_kernel"],),
        )
    ]


def text_frontend(config: Mapping[str, Any], theirs: str) -> list[Rule]:
    """Token and position tables and the norm behind them; v1 names them alike."""
    front, width = config["frontend"], config["trunk"]["width"]
    tokens, places = (front["vocab_size"], width), (front["max_tokens"] + 2, width)
    return [
        keymap.leaf("frontend/tokens/embedding", f"{theirs}.embed_tokens.weight", tokens),
        keymap.leaf("frontend/positions/embedding", f"{theirs}.embed_positions.weight", places),
        *keymap.norm("frontend/norm", f"{theirs}.layernorm_embedding", width),
    ]


def patches(config: Mapping[str, Any], theirs: str) -> list[Rule]:
    """The projection of patches."""
    window = (config["frontend"]["patch_size"],) * 2
    channels = config["data"]["channels"]
    return keymap.conv("frontend/patch", theirs, channels, config["trunk"]["width"], window)


def _audio(config: Mapping[str, Any], encoder: str) -> list[Rule]:
    trunk = config["trunk"]
    channels = config["frontend"]["conv_layers"][-1][0]
    rules = [
        *wave_convs(config, f"{encoder}.local_encoder"),
        *keymap.norm("frontend/norm", f"{encoder}.project_features.1", channels),
        *keymap.linear("frontend/proj", f"{encoder}.project_features.2", channels, trunk["width"]),
        *conv_positions(config, f"{encoder}.relative_positional_encoder", start=1),
    ]
    if config["positions"]["bias"] == "alibi":
        rules.append(
            keymap.leaf(
                "positions/alibi_scale",
                f"{encoder}.alibi_scale",
                (1, 1, trunk["heads"], 1, 1),
                np.ravel,
                lambda array: array[None, None, :, None, None],
            )
        )
    return rules


def _image(config: Mapping[str, Any], encoder: str) -> list[Rule]:
    return patches(config, f"{encoder}.local_encoder.proj")


def _context(config: Mapping[str, Any], encoder: str) -> list[Rule]:
    """Prefix tokens, prenet and trunk."""
    trunk = config["trunk"]
    width, prefix, mlp = trunk["width"], trunk["prefix_tokens"], hidden(trunk)
    context = f"{encoder}.context_encoder"
    rules = []
    if prefix:
        shape = (1, prefix, width)
        rules.append(keymap.leaf("prefix/tokens", f"{encoder}.extra_tokens", shape, keymap.first))
    if trunk["input_norm"]:
        rules += keymap.norm("prenet/norm", f"{context}.norm", width)
    for i in range(trunk["prenet_depth"]):
        rules += block(f"prenet/block_{i:02d}", f"{context}.blocks.{i}", width, mlp)
    for i in range(trunk["depth"]):
        rules += block(f"trunk/block_{i:02d}", f"blocks.{i}", width, mlp)
    return rules


def _decoder(config: Mapping[str, Any], encoder: str) -> list[Rule]:
    cfg, width = config["decoder"], config["trunk"]["width"]
    window = (cfg["kernel"],) * (2 if config["modality"] == "image" else 1)
    rules, channels = [], width
    for i in range(cfg["layers"]):
        rules += keymap.conv(
            f"decoder/conv_{i:02d}",
            f"{encoder}.decoder.blocks.{i}.0",
            channels // cfg["groups"],
            cfg["width"],
            window,
        )
        channels = cfg["width"]
    return rules + projection(f"{encoder}.decoder.proj", (channels, *cfg["hidden"], width))


def projection(theirs: str, widths: tuple[int, ...], numbered: bool = False) -> list[Rule]:
    """Linear maps between these widths; a sequence of them is numbered with its gelus."""
    numbered = numbered or len(widths) > 2
    return [
        rule
        for i, (width_in, width_out) in enumerate(itertools.pairwise(widths))
        for rule in keymap.linear(
            f"decoder/proj_{i:02d}",
            f"{theirs}.{2 * i}" if numbered else theirs,
            width_in,
            width_out,
        )
    ]


def hidden(trunk: Mapping[str, Any]) -> int:
    """Units of a block's MLP."""
    return int(trunk["width"] * trunk["mlp_ratio"])


def modernize(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Renames what older files call differently and drops what newer ones no longer have."""
    modern = rename(flat, _modern)
    for key, value in modern.items():
        if key.endswith(".alibi_scale") and isinstance(value, np.ndarray) and value.ndim == 4:
            modern[key] = value[None]
    return modern


def _modern(key: str) -> str | None:
    front, _, last = key.rpartition(".")
    if "encoder_mask" in key.split("."):
        return None
    if last == "pos_embed" or front.endswith(".positional_encoder"):
        return "modality_encoders.IMAGE.fixed_positional_encoder.positions"
    return key


def _bare(key: str) -> str:
    return key.removeprefix("blocks.")
