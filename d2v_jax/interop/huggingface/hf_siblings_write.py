"""What a Hugging Face folder of a sibling holds: the inverse of `hf_siblings`."""

from collections.abc import Mapping
from typing import Any

from d2v_jax.common import trees
from d2v_jax.common.checks import UserError
from d2v_jax.interop import keymap, mae
from d2v_jax.interop.huggingface import hf_bert, hf_export, hf_rules, hf_speech

# What an encoder of theirs is in our fields.
IMAGES = {
    "modality": "image",
    "frontend.normalize": "dataset",
    "positions.add": "sincos",
    "positions.bias": "none",
    "trunk.block": "plain_pre_norm",
    "trunk.input_norm": False,
    "trunk.output_norm": True,
    "trunk.prenet_depth": 0,
    "trunk.prefix_tokens": 1,
    "trunk.dropout": 0.0,
    "trunk.attention_dropout": 0.0,
}
SPEECH = {
    "modality": "audio",
    "frontend.conv_style": "wav2vec",
    "frontend.padded_frames": "partly",
    "positions.add": "normed_conv",
    "positions.bias": "none",
    "positions.zero_padding": "input",
    "trunk.prenet_depth": 0,
    "trunk.prefix_tokens": 0,
}
SYSTEMS = ("bert_text", "mae_image", *(f"{kind}_audio" for kind in hf_speech.KINDS))
BERT_PARTS = {"naming": ("naming",), "next": ("pooler", "next")}
CONTRAST = ("quantizer", "target", "prediction")

Content = tuple[dict[str, Any], dict[str, Any] | None, dict[str, Any], list[str]]


def content(
    system: str,
    config: Mapping[str, Any],
    params: trees.Tree,
    head: Mapping[str, Any] | None,
) -> Content:
    """-> (config.json, preprocessor_config.json or None, weights, parts that were left out).

    Raises UserError naming the first field that no class of theirs can express.
    """
    if head is not None and (head["kind"] != "ctc" or config["modality"] != "audio"):
        raise UserError(f"a {system} model has no head {head['kind']!r} in Hugging Face's classes")
    if system == "bert_text":
        found = _bert(config, params)
    elif system == "mae_image":
        found = _mae(config, params)
    else:
        found = _speech(system.removesuffix("_audio"), config, params, head)
    fields, preprocessor, rules, constants, left_out = found
    kept = {part: tree for part, tree in params.items() if part not in left_out}
    tree, placed = {"student": kept}, hf_rules.placed("student", rules)
    if head is not None:
        count = len(head["params"]["out"]["bias"])
        top = hf_rules.head("ctc", config["trunk"]["width"], count, "")
        tree["head"], placed = head["params"], placed + hf_rules.placed("head", top)
    flat = keymap.invert(tree, placed, constants)
    return hf_export.encoder(config) | fields, preprocessor, flat, left_out


def _bert(config: Mapping[str, Any], params: trees.Tree):
    hf_export.fixed(
        config, hf_export.POST_NORM_TEXT | {"frontend.norm_eps": config["trunk"]["norm_eps"]}
    )
    kind = hf_bert.kind_of(config)
    heads = tuple(part for part, trees_of in BERT_PARTS.items() if set(trees_of) <= set(params))
    fields = hf_bert.config_json(kind, config, heads)
    prefix = f"{kind}." if heads else ""
    asked = {**config, "sentences": {"next": "next" in heads}}
    return fields, None, hf_bert.rules(kind, asked, prefix, "naming" in heads), [], []


def _mae(config: Mapping[str, Any], params: trees.Tree):
    hf_export.fixed(config, IMAGES)
    decoder = "decoder" in params
    rules, constants = mae.hf_rules(config, decoder, mae.ENCODER if decoder else "")
    preprocessor = hf_export.preprocessor_json(config, "ViTImageProcessor")
    return mae.hf_config(config, decoder), preprocessor, rules, constants, []


def _speech(
    kind: str, config: Mapping[str, Any], params: trees.Tree, head: Mapping[str, Any] | None
):
    trunk = config["trunk"]
    before = trunk["block"] == "plain_pre_norm"
    norms = {
        "trunk.block": "plain_pre_norm" if before else "post_norm",
        "trunk.input_norm": not before,
        "trunk.output_norm": before,
        "frontend.norm_eps": trunk["norm_eps"],
    }
    hf_export.fixed(config, SPEECH | norms)
    asks = kind == "wav2vec2" and head is None and set(CONTRAST) <= set(params)
    parts = [part for part, there in (("mask", "mask" in params), ("quantizer", asks)) if there]
    fields = hf_speech.config_json(kind, config, head, parts)
    rules = hf_speech.rules(kind, config, f"{kind}." if head or asks else "", parts)
    there = {rule.ours.split("/")[0] for rule in rules}
    left_out = [part for part in (*CONTRAST, "clusters") if part in params and part not in there]
    return fields, hf_export.preprocessor_json(config), rules, [], left_out
