"""Masked autoencoders of the original code and of Hugging Face: fields and names in ours."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from d2v_jax.common.checks import UserError
from d2v_jax.configs import mae_base
from d2v_jax.interop import keymap
from d2v_jax.interop.keymap import Constant, Rule
from d2v_jax.nn import positions

PUBLISHED = {768: 12, 1024: 16, 1280: 16}  # heads by width; no file tells them
PAINTER_HEADS = 16
# The original's names and Hugging Face's: how they begin, and what is inside. There q, k and v are
# apart, and the encoder of a whole model stands below ENCODER.
ENCODER = "vit."
BEGIN = (
    ("cls_token", "vit.embeddings.cls_token"),
    ("pos_embed", "vit.embeddings.position_embeddings"),
    ("patch_embed.proj.", "vit.embeddings.patch_embeddings.projection."),
    ("blocks.", "vit.encoder.layer."),
    ("norm.", "vit.layernorm."),
    ("mask_token", "decoder.mask_token"),
    ("decoder_blocks.", "decoder.decoder_layers."),
    ("decoder_", "decoder.decoder_"),
)
INSIDE = (
    *((f".attn.{part}.", f".attention.attention.{part}.") for part in ("query", "key", "value")),
    (".attn.proj.", ".attention.output.dense."),
    (".mlp.fc1.", ".intermediate.dense."),
    (".mlp.fc2.", ".output.dense."),
    (".norm1.", ".layernorm_before."),
    (".norm2.", ".layernorm_after."),
)
SLIP = "decoder.decoder_encoder.layer."  # what some versions of transformers call decoder layers


def is_one(flat: Any) -> bool:
    """Whether these are the names of a masked autoencoder of the original code."""
    return isinstance(flat, Mapping) and {"pos_embed", "blocks.0.attn.qkv.bias"} <= set(flat)


def modern(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Names of Hugging Face without a slip of theirs."""
    return {key.replace(SLIP, "decoder.decoder_layers."): value for key, value in flat.items()}


def original(key: str) -> str:
    """The original's name for one of Hugging Face's."""
    if not key.startswith(("decoder.", ENCODER)):
        key = f"{ENCODER}{key}"
    return _renamed(key, [(theirs, ours) for ours, theirs in BEGIN + INSIDE])


def hugging_face(key: str, prefix: str = ENCODER) -> str:
    """The inverse; the encoder's names begin with `prefix`."""
    key = _renamed(key, BEGIN + INSIDE)
    return f"{prefix}{key.removeprefix(ENCODER)}" if key.startswith(ENCODER) else key


def _renamed(key: str, pairs: Sequence[tuple[str, str]]) -> str:
    begins, inside = pairs[: len(BEGIN)], pairs[len(BEGIN) :]
    for old, new in begins:
        if key.startswith(old):
            key = f"{new}{key.removeprefix(old)}"
            break
    for old, new in inside:
        key = key.replace(old, new)
    return key


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
    fields: Mapping[str, Any], decoder: bool, fused: bool = True
) -> tuple[list[Rule], list[Constant]]:
    """Every parameter, under the original's names; those of the decoder if there is one."""
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
    if decoder:
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


def hf_rules(
    fields: Mapping[str, Any], decoder: bool, prefix: str
) -> tuple[list[Rule], list[Constant]]:
    """The same under Hugging Face's names, the encoder's below `prefix`."""
    found, constants = rules(fields, decoder, fused=False)
    name = lambda key: hugging_face(key, prefix)
    return [keymap.renamed(rule, name) for rule in found], [
        dataclasses.replace(constant, theirs=name(constant.theirs)) for constant in constants
    ]


def hf_config(fields: Mapping[str, Any], decoder: bool) -> dict[str, Any]:
    """What their config.json says of such a model alone."""
    painter, data = fields["painter"], fields["data"]
    return {
        "model_type": "vit_mae",
        "architectures": ["ViTMAEForPreTraining" if decoder else "ViTMAEModel"],
        "attention_probs_dropout_prob": 0.0,
        "decoder_hidden_size": painter["width"],
        "decoder_intermediate_size": int(painter["width"] * painter["mlp_ratio"]),
        "decoder_num_attention_heads": painter["heads"],
        "decoder_num_hidden_layers": painter["depth"],
        "hidden_dropout_prob": 0.0,
        "image_size": data["image_size"],
        "mask_ratio": fields["mask"]["share"],
        "norm_pix_loss": fields["pixels"]["normalize"],
        "num_channels": data["channels"],
        "patch_size": fields["frontend"]["patch_size"],
        "qkv_bias": True,
    }


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
