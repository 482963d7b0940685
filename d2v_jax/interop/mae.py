"""Masked autoencoders of the original code and of Hugging Face: fields and names in ours."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from d2v_jax.common.checks import UserError
from d2v_jax.configs import mae_base
from d2v_jax.interop import keymap
from d2v_jax.interop.keymap import Constant, Rule
from d2v_jax.nn import positions

PUBLISHED = {768: 12, 1024: 16, 1280: 16}  # heads by width; no file tells them
PAINTER_HEADS = 16
# Hugging Face's names -> the original's; q, k and v are apart there.
NAMES = (
    (r"^(vit\.)?embeddings\.cls_token", "cls_token"),
    (r"^(vit\.)?embeddings\.position_embeddings", "pos_embed"),
    (r"^(vit\.)?embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^(vit\.)?encoder\.layer\.(\d+)\.", r"blocks.\2."),
    (r"^(vit\.)?layernorm\.", "norm."),
    # Some versions of transformers write the second of these names, by a slip of theirs.
    (r"^decoder\.(?:decoder_layers|decoder_encoder\.layer)\.(\d+)\.", r"decoder_blocks.\1."),
    (r"^decoder\.", ""),
    (r"\.attention\.attention\.(query|key|value)\.", r".attn.\1."),
    (r"\.attention\.output\.dense\.", ".attn.proj."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.output\.dense\.", ".mlp.fc2."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
)


def is_one(flat: Any) -> bool:
    """Whether these are the names of a masked autoencoder of the original code."""
    return isinstance(flat, Mapping) and {"pos_embed", "blocks.0.attn.qkv.bias"} <= set(flat)


def renamed(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Hugging Face's names as the original's."""
    found = {}
    for key, value in flat.items():
        for pattern, name in NAMES:
            key = re.sub(pattern, name, key)
        found[key] = value
    return found


def config(flat: Mapping[str, Any], about: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of configs/mae.py; sizes are those of the arrays.

    `about`: what the file says beside them: "heads", "decoder_heads", "norm_pix_loss".
    Raises UserError where arrays lack that tell the sizes.
    """
    try:
        width, channels, patch, _ = flat["patch_embed.proj.weight"].shape
        places = flat["pos_embed"].shape[1] - 1
        mlp = flat["blocks.0.mlp.fc1.weight"].shape[0]
    except (KeyError, AttributeError, ValueError, IndexError):
        raise UserError(
            "lacks patch_embed.proj.weight, pos_embed or blocks.0.mlp.fc1.weight, which tell the "
            "sizes of a masked autoencoder"
        ) from None
    side = round(places**0.5)
    if side**2 != places:
        raise UserError(f"pos_embed has {places} places, which is no square of patches")
    fields = mae_base.get_config().to_dict()
    fields["recipe"] = "imported_mae"
    fields["data"] |= {"image_size": side * patch, "channels": channels}
    fields["frontend"]["patch_size"] = patch
    if channels != 3:
        fields["frontend"] |= {"mean": (0.5,) * channels, "std": (0.5,) * channels}
    heads = about.get("heads") or PUBLISHED.get(width, max(1, width // 64))
    fields["trunk"] |= {
        "width": width,
        "heads": heads,
        "depth": _count(flat, "blocks"),
        "mlp_ratio": mlp / width,
        "norm_eps": about.get("eps", 1e-6),
        "dtype": "float32",
    }
    if "decoder_embed.weight" in flat:
        fields["painter"] |= _painter(flat) | {"heads": about.get("decoder_heads") or PAINTER_HEADS}
    fields["pixels"]["normalize"] = bool(about.get("norm_pix_loss", True))
    for name in ("trunk", "painter"):
        if fields[name]["width"] % fields[name]["heads"]:
            raise UserError(
                f"{name}.width={fields[name]['width']} is no multiple of {fields[name]['heads']} "
                "heads; the file does not say how many there are"
            )
    return fields


def _painter(flat: Mapping[str, Any]) -> dict[str, Any]:
    try:
        width = flat["decoder_embed.weight"].shape[0]
        mlp = flat["decoder_blocks.0.mlp.fc1.weight"].shape[0]
    except (KeyError, AttributeError, IndexError):
        raise UserError(
            "has decoder_embed.weight, but lacks decoder_blocks.0.mlp.fc1.weight, which tells the "
            "decoder's size"
        ) from None
    return {"width": width, "depth": _count(flat, "decoder_blocks"), "mlp_ratio": mlp / width}


def _count(flat: Mapping[str, Any], stack: str) -> int:
    return len({key.split(".")[1] for key in flat if key.startswith(f"{stack}.")})


def rules(
    fields: Mapping[str, Any], flat: Mapping[str, Any], fused: bool = True
) -> tuple[list[Rule], list[Constant]]:
    """Every parameter, under the original's names; the decoder where the file has it."""
    trunk, painter = fields["trunk"], fields["painter"]
    width, patch, channels = trunk["width"], fields["frontend"]["patch_size"], fields["data"]
    side, channels = channels["image_size"] // patch, channels["channels"]
    found = [
        *keymap.conv("frontend/patch", "patch_embed.proj", channels, width, (patch, patch)),
        keymap.leaf("prefix/tokens", "cls_token", (1, 1, width), keymap.first),
        *_blocks("trunk", "blocks", trunk["depth"], width, trunk["mlp_ratio"], fused),
        *keymap.norm("trunk/norm", "norm", width),
    ]
    constants = [_places("pos_embed", side, width)]
    if "decoder_embed.weight" in flat:
        inner = painter["width"]
        stack = ("decoder/blocks", "decoder_blocks", painter["depth"], inner)
        found += [
            *keymap.linear("decoder/enter", "decoder_embed", width, inner),
            keymap.leaf("decoder/hidden", "mask_token", (1, 1, inner), _inner, _outer),
            *_blocks(*stack, painter["mlp_ratio"], fused),
            *keymap.norm("decoder/blocks/norm", "decoder_norm", inner),
            *keymap.linear("decoder/leave", "decoder_pred", inner, patch**2 * channels),
        ]
        constants.append(_places("decoder_pos_embed", side, inner))
    return found, constants


def _places(key: str, side: int, width: int) -> Constant:
    def value() -> np.ndarray:
        return np.concatenate([np.zeros((1, width)), positions.sincos((side, side), width)])

    return Constant(key, (1, side**2 + 1, width), value, required=False)


def _blocks(
    ours: str, theirs: str, depth: int, width: int, mlp_ratio: float, fused: bool
) -> list[Rule]:
    found = []
    for i in range(depth):
        block, name, mlp = f"{ours}/block_{i:02d}", f"{theirs}.{i}", int(width * mlp_ratio)
        qkv = f"{block}/attention/qkv"
        if fused:
            found += keymap.linear(qkv, f"{name}.attn.qkv", width, 3 * width)
        else:
            each = [f"{name}.attn.{part}" for part in ("query", "key", "value")]
            found += keymap.joined(qkv, each, width, width)
        found += [
            *keymap.linear(f"{block}/attention/out", f"{name}.attn.proj", width, width),
            *keymap.norm(f"{block}/norm1", f"{name}.norm1", width),
            *keymap.norm(f"{block}/norm2", f"{name}.norm2", width),
            *keymap.linear(f"{block}/mlp/fc1", f"{name}.mlp.fc1", width, mlp),
            *keymap.linear(f"{block}/mlp/fc2", f"{name}.mlp.fc2", mlp, width),
        ]
    return found


def _inner(array: np.ndarray) -> np.ndarray:
    return array[0, 0]


def _outer(array: np.ndarray) -> np.ndarray:
    return array[None, None]
