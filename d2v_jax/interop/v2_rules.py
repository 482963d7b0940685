"""The key map of data2vec 2.0 (REFERENCE §14.4): fairseq's names to ours."""

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from d2v_jax.interop import keymap
from d2v_jax.interop.keymap import Constant, Rule
from d2v_jax.nn import positions


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


def decoder_layers(theirs: str, width_in: int, cfg: Mapping[str, Any], dims: int) -> list[Rule]:
    """The convolutions of a decoder over `dims` axes; the first one takes `width_in` channels."""
    rules = []
    for i in range(cfg["layers"]):
        group_in = (width_in if i == 0 else cfg["width"]) // cfg["groups"]
        window = (cfg["kernel"],) * dims
        rules += keymap.conv(
            f"decoder/conv_{i:02d}", f"{theirs}.blocks.{i}.0", group_in, cfg["width"], window
        )
    return rules


def image_student(config: Mapping[str, Any]) -> list[Rule]:
    """Every parameter of an image model; `config` has the fields of configs/image.py."""
    trunk, decoder = config["trunk"], config["decoder"]
    width, prefix = trunk["width"], trunk["prefix_tokens"]
    mlp, patch = int(width * trunk["mlp_ratio"]), config["frontend"]["patch_size"]
    encoder = "modality_encoders.IMAGE"
    context = f"{encoder}.context_encoder"
    rules = keymap.conv(
        "frontend/patch",
        f"{encoder}.local_encoder.proj",
        config["data"]["channels"],
        width,
        (patch, patch),
    )
    if prefix:
        shape = (1, prefix, width)
        rules.append(
            keymap.leaf("prefix/tokens", f"{encoder}.extra_tokens", shape, keymap.first)
        )  # fmt: skip
    else:
        rules.append(Rule("prefix/tokens", (), (), lambda: np.zeros((0, width))))
    rules += keymap.norm("prenet/norm", f"{context}.norm", width)
    for i in range(trunk["prenet_depth"]):
        rules += block(f"prenet/block_{i:02d}", f"{context}.blocks.{i}", width, mlp)
    for i in range(trunk["depth"]):
        rules += block(f"trunk/block_{i:02d}", f"blocks.{i}", width, mlp)
    rules += decoder_layers(f"{encoder}.decoder", width, decoder, dims=2)
    rules += keymap.linear("decoder/proj_00", f"{encoder}.decoder.proj", decoder["width"], width)
    return rules


def image_teacher(config: Mapping[str, Any]) -> list[Rule]:
    """The parameters the teacher owns. One that owns the trunk alone drops the prefix `blocks.`."""
    owns = config["teacher"]["owns"]
    rules = [rule for rule in image_student(config) if rule.ours.split("/")[0] in owns]
    if tuple(owns) == ("trunk",):
        return [
            Rule(r.ours, tuple(k.removeprefix("blocks.") for k in r.theirs), r.shapes, r.layout)
            for r in rules
        ]
    return rules


def image_constants(config: Mapping[str, Any], required: bool) -> list[Constant]:
    """The sin-cos positions, which they store as a frozen parameter and we compute."""
    grid = config["data"]["image_size"] // config["frontend"]["patch_size"]
    width = config["trunk"]["width"]
    return [
        Constant(
            "modality_encoders.IMAGE.fixed_positional_encoder.positions",
            (1, grid * grid, width),
            functools.partial(positions.sincos_2d, grid, width),
            required,
        )
    ]


def modernize(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Renames what older files call differently and drops what newer ones no longer have."""
    old, new = "positional_encoder.pos_embed", "positional_encoder.positions"
    modern = {}
    for key, value in flat.items():
        renamed = key.removesuffix(old) + new if key.endswith(old) else key
        if "encoder_mask" not in key.split("."):
            modern[key if renamed in flat else renamed] = value
    return modern
