"""The key maps of data2vec 1.0 speech and text (REFERENCE §14.1, §14.3): fairseq to ours."""

import re
from collections.abc import Mapping
from typing import Any

from d2v_jax.interop import keymap
from d2v_jax.interop.fairseq import v2_rules
from d2v_jax.interop.keymap import Rule
from d2v_jax.interop.layout import Layout, Names, rename

SENTENCE = "encoder.sentence_encoder."


def audio(config: Mapping[str, Any]) -> Layout:
    """The rules of a speech model; its teacher is the encoder behind the projection."""
    trunk = config["trunk"]
    channels = config["frontend"]["conv_layers"][-1][0]
    student = [
        *v2_rules.wave_convs(config, "feature_extractor"),
        *keymap.norm("frontend/norm", "layer_norm", channels),
        *keymap.linear("frontend/proj", "post_extract_proj", channels, trunk["width"]),
        *v2_rules.conv_positions(config, "encoder.pos_conv", start=0),
        keymap.leaf("mask/embedding", "mask_emb", (trunk["width"],)),
        *keymap.norm("prenet/norm", "encoder.layer_norm", trunk["width"]),
        *blocks("encoder.layers", trunk),
        *v2_rules.projection("final_proj", (trunk["width"], trunk["width"])),
    ]
    inside = _parts(student, ("positions", "prenet", "trunk"), "encoder.")
    names = lambda flat: rename(flat, _audio_name)
    return _layout(student, inside, config, names, dict)


def text(config: Mapping[str, Any]) -> Layout:
    """The rules of a text model; its teacher is a whole sentence encoder."""
    width = config["trunk"]["width"]
    widths = (width, *config["decoder"]["hidden"], width)
    student = [
        *v2_rules.text_frontend(config, SENTENCE.removesuffix(".")),
        *blocks(f"{SENTENCE}layers", config["trunk"]),
        *v2_rules.projection("encoder.regression_head", widths, numbered=True),
    ]
    inside = _parts(student, ("frontend", "trunk"), SENTENCE)
    return _layout(student, inside, config, text_names, lambda flat: rename(flat, _sentence_name))


def text_names(flat: Mapping[str, Any]) -> dict[str, Any]:
    """The text student's names as the rules know them (§14.3)."""
    return rename(flat, _text_name)


def blocks(theirs: str, trunk: Mapping[str, Any]) -> list[Rule]:
    """The trunk: post-norm blocks with separate q, k and v."""
    width, mlp = trunk["width"], v2_rules.hidden(trunk)
    rules = []
    for i in range(trunk["depth"]):
        ours, name = f"trunk/block_{i:02d}", f"{theirs}.{i}"
        qkv = [f"{name}.self_attn.{part}_proj" for part in "qkv"]
        rules += [
            *keymap.norm(f"{ours}/norm1", f"{name}.self_attn_layer_norm", width),
            *keymap.joined(f"{ours}/attention/qkv", qkv, width, width),
            *keymap.linear(f"{ours}/attention/out", f"{name}.self_attn.out_proj", width, width),
            *keymap.norm(f"{ours}/norm2", f"{name}.final_layer_norm", width),
            *keymap.linear(f"{ours}/mlp/fc1", f"{name}.fc1", width, mlp),
            *keymap.linear(f"{ours}/mlp/fc2", f"{name}.fc2", mlp, width),
        ]
    return rules


def _parts(rules: list[Rule], parts: tuple[str, ...], prefix: str) -> list[Rule]:
    """The rules of some parts, under the names they have inside the teacher."""
    return [
        keymap.renamed(rule, lambda key: key.removeprefix(prefix))
        for rule in rules
        if rule.ours.split("/")[0] in parts
    ]


def _layout(
    student: list[Rule],
    inside: list[Rule],
    config: Mapping[str, Any],
    student_names: Names,
    teacher_names: Names,
) -> Layout:
    """What the teacher does not average it holds as a copy (§2.1)."""
    owns = config["teacher"]["owns"]
    owned = [rule.ours.split("/")[0] in owns for rule in inside]
    return Layout(
        student,
        [rule for rule, own in zip(inside, owned, strict=True) if own],
        [],
        [],
        student_names,
        teacher_names,
        [rule for rule, own in zip(inside, owned, strict=True) if not own],
    )


def _audio_name(key: str) -> str:
    """Released files hold the head in a sequence of one."""
    return key.replace("final_proj.0.", "final_proj.") if key.startswith("final_proj.0.") else key


def _text_name(key: str) -> str | None:
    if key.startswith("decoder."):
        key = "encoder." + key.removeprefix("decoder.")
    if key.startswith("encoder.target_model."):
        return None
    if re.match(r"encoder\.lm_head\.\d", key):
        key = key.replace(".lm_head.", ".regression_head.")
    if not key.startswith(SENTENCE):
        return key
    inner = _sentence_name(key.removeprefix(SENTENCE))
    return inner if inner is None else SENTENCE + inner


def _sentence_name(key: str) -> str | None:
    """Names inside a sentence encoder."""
    if key == "version":
        return None
    key = re.sub(r"^emb_layer_norm\.", "layernorm_embedding.", key)
    key = re.sub(r"^(layers\.\d+)\.layer_norms\.0\.", r"\1.self_attn_layer_norm.", key)
    return re.sub(r"^(layers\.\d+)\.layer_norms\.1\.", r"\1.final_layer_norm.", key)
