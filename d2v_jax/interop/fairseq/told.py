"""What weights alone tell of their configuration, where a file keeps none.

Sizes are those of the arrays. What no array tells is the published models': strides, the number of
heads where there is no scale per head, the epsilon of norms, and how they were trained.
"""

import logging
import re
from collections.abc import Mapping
from typing import Any

from d2v_jax.common.checks import UserError
from d2v_jax.configs import audio, image, text, v1_audio_base, v1_text_base
from d2v_jax.interop.fairseq.original import shape
from d2v_jax.interop.sections import Section

BASES = {
    "v2_audio": audio,
    "v2_image": image,
    "v2_text": text,
    "v1_audio": v1_audio_base,
    "v1_text": v1_text_base,
}
HEADS = {768: 12, 1024: 16, 1280: 16}  # by width, of the published models
STRIDES = (5, 2, 2, 2, 2, 2, 2)  # of the published waveform encoders
WITH_CFG = (
    "Save it again as torch.save({'model': STATE_DICT, 'cfg': CFG}, PATH), with the configuration "
    "it was trained with as plain dicts"
)

log = logging.getLogger("d2v")


def config(system: str, body: Mapping[str, Any], teacher: Mapping[str, Any] | None) -> Section:
    """The fields that fairseq's configuration of this model would have, as far as we ask for them.

    Raises UserError, with the remedy, for sizes that cannot be told.
    """
    if system not in BASES:
        raise UserError(
            "carries no 'args'; without the configuration it was trained with, sizes such as the "
            "number of heads cannot be told. Save it again as "
            "torch.save({'model': STATE_DICT, 'args': ARGS}, PATH)"
        )
    base = BASES[system].get_config()
    match system:
        case "v1_audio":
            fields = _v1_audio(body)
        case "v1_text":
            fields = _v1_text(body)
        case _:
            fields = _v2(system.removeprefix("v2_"), body, teacher, base)
    log.warning(
        "the file keeps no configuration: sizes are told by its weights, the rest is that of the "
        "published models (%s)",
        ", ".join(f"{name}={value}" for name, value in _assumed(system, fields, body).items()),
    )
    depth = fields.get("depth", fields.get("encoder_layers"))
    return Section("cfg", {"model": {**_trained(base, depth), **fields}})


def _assumed(system: str, fields: Mapping[str, Any], body: Mapping[str, Any]) -> dict[str, Any]:
    said = {}
    if not any(key.endswith("alibi_scale") for key in body):
        said["heads"] = fields.get("num_heads", fields.get("encoder_attention_heads"))
    if "norm_eps" in fields:
        said["norm_eps"] = fields["norm_eps"]
    if system.endswith("audio"):
        said["strides"] = "x".join(map(str, STRIDES))
    return said


def _trained(base: Any, depth: int) -> dict[str, Any]:
    """How the published base model was trained."""
    targets, teacher = base.targets, base.teacher
    return {
        "average_top_k_layers": min(depth, len(targets.blocks)),
        "end_of_block_targets": targets.get("site", "ffn") == "block",
        "instance_norm_target_layer": "instance" in targets.layer_norms,
        "layer_norm_target_layer": "layer" in targets.layer_norms,
        "layer_norm_targets": "layer" in targets.final_norms,
        "instance_norm_targets": "instance" in targets.final_norms,
        "loss_beta": base.loss.beta,
        "loss_scale": base.loss.scale,
        "ema_decay": teacher.decay_start,
        "ema_end_decay": teacher.decay_end,
        "ema_anneal_end_step": teacher.decay_steps,
    }


def _v2(
    kind: str, body: Mapping[str, Any], teacher: Mapping[str, Any] | None, base: Any
) -> dict[str, Any]:
    theirs = f"modality_encoders.{kind.upper()}"
    width = shape(body, "blocks.0.norm1.weight", 1)[0]
    encoder: dict[str, Any] = {
        "prenet_depth": _count(body, rf"{re.escape(theirs)}\.context_encoder\.blocks"),
        "num_extra_tokens": _axis(body, f"{theirs}.extra_tokens", 1, 0),
        "mask_noise_std": base.decoder.noise_std,
        "decoder": _decoder(body, f"{theirs}.decoder", kind, width, base),
        "ema_local_encoder": any(".local_encoder." in key for key in teacher or ()),
    }
    scales = next((key for key in body if key == f"{theirs}.alibi_scale"), None)
    heads = _axis(body, f"{theirs}.alibi_scale", -3, 0) or _heads(width)
    match kind:
        case "audio":
            stack = f"{theirs}.relative_positional_encoder"
            first = shape(body, f"{stack}.1.0.weight", 3)
            layers = _count(body, re.escape(stack), start=1)
            encoder |= {
                "feature_encoder_spec": _convs(body, f"{theirs}.local_encoder.conv_layers"),
                "conv_pos_depth": layers,
                "conv_pos_width": first[2] * layers,
                "conv_pos_groups": width // first[1],
                "use_alibi_encoder": scales is not None,
                "learned_alibi_scale": True,
                "learned_alibi_scale_per_head": True,
                "num_alibi_heads": heads,
            }
        case "image":
            patch = shape(body, f"{theirs}.local_encoder.proj.weight", 4)[2]
            side = _axis(body, f"{theirs}.fixed_positional_encoder.positions", 1, 0) or 196
            encoder |= {
                "patch_size": patch,
                "input_size": patch * round(side**0.5),
                "embed_dim": width,
            }
        case _:
            places = shape(body, f"{theirs}.local_encoder.embed_positions.weight", 2)[0]
            encoder |= {"max_source_positions": places - 2}
    owned = list(teacher or ())
    return {
        "embed_dim": width,
        "num_heads": heads,
        "depth": _count(body, "blocks"),
        "mlp_ratio": shape(body, "blocks.0.mlp.fc1.weight", 2)[0] / width,
        "norm_eps": base.trunk.norm_eps,
        "ema_encoder_only": not any(key.startswith("modality_encoders.") for key in owned),
        "modalities": {kind: encoder},
    }


def _decoder(
    body: Mapping[str, Any], theirs: str, kind: str, width: int, base: Any
) -> dict[str, Any] | None:
    layers = _count(body, rf"{re.escape(theirs)}\.blocks")
    if not layers:
        return None
    first = shape(body, f"{theirs}.blocks.0.0.weight", 4 if kind == "image" else 3)
    maps = _count(body, rf"{re.escape(theirs)}\.proj") or 1
    ratio = _axis(body, f"{theirs}.proj.0.weight", 0, width) / width
    return {
        "decoder_dim": first[0],
        "decoder_kernel": first[2],
        "decoder_groups": max(1, width // first[1]),
        "decoder_layers": layers,
        "decoder_residual": base.decoder.residual,
        "projection_layers": (maps + 1) // 2 if maps > 1 else 1,
        "projection_ratio": ratio * width / first[0] if maps > 1 else 2.0,
    }


def _v1_audio(body: Mapping[str, Any]) -> dict[str, Any]:
    width = shape(body, "encoder.layers.0.final_layer_norm.weight", 1)[0]
    first = shape(body, "encoder.pos_conv.0.0.weight", 3)
    layers = _count(body, r"encoder\.pos_conv")
    return {
        **_v1_trunk(body, "encoder", width),
        "conv_feature_layers": _convs(body, "feature_extractor.conv_layers"),
        "pos_conv_depth": layers,
        "conv_pos": first[2] * layers,
        "conv_pos_groups": width // first[1],
    }


def _v1_text(body: Mapping[str, Any]) -> dict[str, Any]:
    width = shape(body, "encoder.sentence_encoder.embed_tokens.weight", 2)[1]
    maps = _count(body, r"encoder\.regression_head")
    return {
        **_v1_trunk(body, "encoder.sentence_encoder", width),
        "head_layers": (maps + 1) // 2 if maps else 1,
    }


def _v1_trunk(body: Mapping[str, Any], theirs: str, width: int) -> dict[str, Any]:
    return {
        "encoder_embed_dim": width,
        "encoder_ffn_embed_dim": shape(body, f"{theirs}.layers.0.fc1.weight", 2)[0],
        "encoder_layers": _count(body, rf"{re.escape(theirs)}\.layers"),
        "encoder_attention_heads": _heads(width),
    }


def _heads(width: int) -> int:
    if width not in HEADS:
        raise UserError(
            f"carries neither 'cfg' nor 'args'; without the configuration it was trained with, "
            f"the number of heads of a model of width {width} cannot be told. {WITH_CFG}"
        )
    return HEADS[width]


def _convs(body: Mapping[str, Any], theirs: str) -> str:
    count = _count(body, re.escape(theirs))
    if count != len(STRIDES):
        raise UserError(
            f"carries neither 'cfg' nor 'args'; without the configuration it was trained with, "
            f"the strides of its {count} convolutions cannot be told. {WITH_CFG}"
        )
    sizes = [shape(body, f"{theirs}.{n}.0.weight", 3) for n in range(count)]
    return " + ".join(f"[({s[0]}, {s[2]}, {step})]" for s, step in zip(sizes, STRIDES, strict=True))


def _count(body: Mapping[str, Any], pattern: str, start: int = 0) -> int:
    """How many numbers follow a name; they count from `start`."""
    found = {int(m[1]) for key in body if (m := re.match(rf"{pattern}\.(\d{{1,4}})\.", key))}
    return max(found) + 1 - start if found else 0


def _axis(body: Mapping[str, Any], key: str, axis: int, default: int) -> int:
    """The length of one axis of an array, a default where there is none."""
    sizes = getattr(body.get(key), "shape", ())
    return int(sizes[axis]) if -len(sizes) <= axis < len(sizes) else default
