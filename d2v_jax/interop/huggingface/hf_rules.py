"""The key maps of Hugging Face's data2vec classes (REFERENCE §14.5): their names to ours.

Their keys are as in a file whose encoder stands under `prefix`: "data2vec_audio." in task models,
"" in the bare model.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from d2v_jax.interop import keymap
from d2v_jax.interop.keymap import Rule

PREFIXES = {
    "v1_audio": "data2vec_audio.",
    "v1_image": "data2vec_vision.",
    "v1_text": "data2vec_text.",
}
# Tables of integers that their code makes itself; old files carry them.
BUFFERS = ("position_ids", "token_type_ids", "relative_position_index")


def encoder(
    system: str, config: Mapping[str, Any], prefix: str, mask: bool, scaled: bool, types: int
) -> list[Rule]:
    """Every parameter of the encoder.

    `config`: our recipe as a nested dict. `mask`: whether there is a mask embedding (speech and
    images). `scaled`: whether blocks have layer scale (images). `types`: rows of the token type
    table (text); its first row belongs to every token.
    """
    match system:
        case "v1_audio":
            rules = _audio(config, mask)
        case "v1_image":
            rules = _image(config, mask, scaled)
        case _:
            rules = _text(config, types)
    return [keymap.renamed(rule, lambda key: f"{prefix}{key}") for rule in rules]


def head(kind: str, width: int, count: int, prefix: str, pooled: bool = False) -> list[Rule]:
    """The parameters of a head with `count` outputs; `pooled`: image classes read a mean."""
    out = keymap.linear
    match kind:
        case "ctc":
            rules = out("out", "lm_head", width, count)
        case "image_classes":
            norm = keymap.norm("norm", f"{prefix}pooler.layernorm", width) if pooled else []
            rules = [*norm, *out("out", "classifier", width, count)]
        case "text_classes":
            rules = [
                *out("dense", "classifier.dense", width, width),
                *out("out", "classifier.out_proj", width, count),
            ]
        case "text_pooler":
            rules = out("dense", f"{prefix}pooler.dense", width, width)
        case "image_pooler":
            rules = keymap.norm("norm", f"{prefix}pooler.layernorm", width)
        case _:
            raise ValueError(f"there is no head {kind!r}")
    return rules


def placed(tree: str, rules: Sequence[Rule]) -> list[Rule]:
    """The rules of a tree that is part of another."""
    return [dataclasses.replace(rule, ours=f"{tree}/{rule.ours}") for rule in rules]


def _audio(config: Mapping[str, Any], mask: bool) -> list[Rule]:
    trunk, places = config["trunk"], config["positions"]
    width, rules, channels = trunk["width"], [], 1
    for i, (channels_out, kernel, _) in enumerate(config["frontend"]["conv_layers"]):
        ours, theirs = f"frontend/conv_{i:02d}", f"feature_extractor.conv_layers.{i}"
        rules += [
            keymap.conv(ours, f"{theirs}.conv", channels, channels_out, (kernel,))[0],  # no bias
            *keymap.norm(ours, f"{theirs}.layer_norm", channels_out),
        ]
        channels = channels_out
    rules += keymap.norm("frontend/norm", "feature_projection.layer_norm", channels)
    rules += keymap.linear("frontend/proj", "feature_projection.projection", channels, width)
    for i in range(places["conv_layers"]):
        rules += keymap.conv(
            f"positions/conv_{i:02d}",
            f"encoder.pos_conv_embed.layers.{i}.conv",
            width // places["conv_groups"],
            width,
            (places["conv_kernel"],),
        )
    if mask:
        rules.append(keymap.leaf("mask/embedding", "masked_spec_embed", (width,)))
    rules += keymap.norm("prenet/norm", "encoder.layer_norm", width)
    return rules + speech_blocks(trunk)


def speech_blocks(trunk: Mapping[str, Any]) -> list[Rule]:
    """The blocks of wav2vec 2.0 and of all that came from it."""
    width, mlp, rules = trunk["width"], int(trunk["width"] * trunk["mlp_ratio"]), []
    for i in range(trunk["depth"]):
        ours, theirs = f"trunk/block_{i:02d}", f"encoder.layers.{i}"
        qkv = [f"{theirs}.attention.{name}_proj" for name in "qkv"]
        rules += [
            *keymap.joined(f"{ours}/attention/qkv", qkv, width, width),
            *keymap.linear(f"{ours}/attention/out", f"{theirs}.attention.out_proj", width, width),
            *keymap.norm(f"{ours}/norm1", f"{theirs}.layer_norm", width),
            *_mlp(
                ours,
                f"{theirs}.feed_forward.intermediate_dense",
                f"{theirs}.feed_forward.output_dense",
                width,
                mlp,
            ),
            *keymap.norm(f"{ours}/norm2", f"{theirs}.final_layer_norm", width),
        ]
    return rules


def _text(config: Mapping[str, Any], types: int) -> list[Rule]:
    frontend, width = config["frontend"], config["trunk"]["width"]
    places = frontend["max_tokens"] + frontend["pad_id"] + 1
    table = "embeddings.{}_embeddings.weight"
    rules = [
        Rule(
            "frontend/tokens/embedding",
            (table.format("word"), table.format("token_type")),
            ((frontend["vocab_size"], width), (types, width)),
            _with_type,
            functools.partial(_without_type, types=types),
        ),
        keymap.leaf("frontend/positions/embedding", table.format("position"), (places, width)),
        *keymap.norm("frontend/norm", "embeddings.LayerNorm", width),
    ]
    return rules + text_blocks(config)


def text_blocks(config: Mapping[str, Any]) -> list[Rule]:
    """The blocks of BERT and of all that came from it."""
    trunk, rules = config["trunk"], []
    width, mlp = trunk["width"], int(trunk["width"] * trunk["mlp_ratio"])
    for i in range(trunk["depth"]):
        ours, theirs = f"trunk/block_{i:02d}", f"encoder.layer.{i}"
        qkv = [f"{theirs}.attention.self.{name}" for name in ("query", "key", "value")]
        output = f"{theirs}.attention.output"
        rules += [
            *keymap.joined(f"{ours}/attention/qkv", qkv, width, width),
            *keymap.linear(f"{ours}/attention/out", f"{output}.dense", width, width),
            *keymap.norm(f"{ours}/norm1", f"{output}.LayerNorm", width),
            *_mlp(ours, f"{theirs}.intermediate.dense", f"{theirs}.output.dense", width, mlp),
            *keymap.norm(f"{ours}/norm2", f"{theirs}.output.LayerNorm", width),
        ]
    return rules


def _with_type(words: np.ndarray, types: np.ndarray) -> np.ndarray:
    """Every token is of type 0 unless told otherwise, so that row is part of its embedding."""
    return words + types[0]


def _without_type(tokens: np.ndarray, types: int) -> list[np.ndarray]:
    return [tokens, np.zeros((types, tokens.shape[1]), tokens.dtype)]


def _image(config: Mapping[str, Any], mask: bool, scaled: bool) -> list[Rule]:
    trunk, frontend, data = config["trunk"], config["frontend"], config["data"]
    width, mlp = trunk["width"], int(trunk["width"] * trunk["mlp_ratio"])
    patch = frontend["patch_size"]
    table = "relative_position_bias.relative_position_bias_table"
    offsets = ((2 * (data["image_size"] // patch) - 1) ** 2 + 3, trunk["heads"])
    rules = [
        *keymap.conv(
            "frontend/patch",
            "embeddings.patch_embeddings.projection",
            data["channels"],
            width,
            (patch, patch),
        ),
        keymap.leaf("prefix/tokens", "embeddings.cls_token", (1, 1, width), keymap.first),
    ]
    if mask:
        rules.append(
            keymap.leaf("mask/embedding", "embeddings.mask_token", (1, 1, width), _inner, _outer)
        )
    if config["positions"]["bias"] == "relative":
        rules.append(keymap.leaf("positions/relative/table", f"encoder.{table}", offsets))
    for i in range(trunk["depth"]):
        ours, theirs = f"trunk/block_{i:02d}", f"encoder.layer.{i}"
        attention = f"{theirs}.attention.attention"
        qkv = tuple(f"{attention}.{name}.weight" for name in ("query", "key", "value"))
        rules += [
            Rule(
                f"{ours}/attention/qkv/kernel",
                qkv,
                ((width, width),) * 3,
                keymap.side_by_side,
                functools.partial(keymap.apart, parts=3),
            ),
            keymap.leaf(f"{ours}/attention/q_bias", f"{attention}.query.bias", (width,)),
            keymap.leaf(f"{ours}/attention/v_bias", f"{attention}.value.bias", (width,)),
            *keymap.linear(
                f"{ours}/attention/out", f"{theirs}.attention.output.dense", width, width
            ),
            *keymap.norm(f"{ours}/norm1", f"{theirs}.layernorm_before", width),
            *_mlp(ours, f"{theirs}.intermediate.dense", f"{theirs}.output.dense", width, mlp),
            *keymap.norm(f"{ours}/norm2", f"{theirs}.layernorm_after", width),
        ]
        for gamma, key in (("gamma1", "lambda_1"), ("gamma2", "lambda_2")):
            if scaled:
                rules.append(keymap.leaf(f"{ours}/{gamma}", f"{theirs}.{key}", (width,)))
            else:
                rules.append(Rule(f"{ours}/{gamma}", (), (), lambda: np.ones(width)))
        if config["positions"]["bias"] == "relative_per_block":
            rules.append(
                keymap.leaf(f"{ours}/attention/relative/table", f"{attention}.{table}", offsets)
            )
    if trunk["output_norm"]:
        rules += keymap.norm("trunk/norm", "layernorm", width)
    return rules


def _mlp(ours: str, fc1: str, fc2: str, width: int, mlp: int) -> list[Rule]:
    return [
        *keymap.linear(f"{ours}/mlp/fc1", fc1, width, mlp),
        *keymap.linear(f"{ours}/mlp/fc2", fc2, mlp, width),
    ]


def _inner(array: np.ndarray) -> np.ndarray:
    """(1, 1, d) -> (d)."""
    return array[0, 0]


def _outer(array: np.ndarray) -> np.ndarray:
    """(d) -> (1, 1, d)."""
    return array[None, None]
