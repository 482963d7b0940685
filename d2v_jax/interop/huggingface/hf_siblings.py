"""Folders of data2vec's siblings: wav2vec 2.0, HuBERT, BERT, RoBERTa, masked autoencoders."""

import pathlib
from collections.abc import Mapping
from typing import Any

from d2v_jax.common.checks import UserError
from d2v_jax.interop import keymap, mae
from d2v_jax.interop.fairseq.reader import Imported
from d2v_jax.interop.huggingface import hf_bert, hf_config, hf_files, hf_rules, hf_speech
from d2v_jax.interop.layout import Layout
from d2v_jax.interop.sections import Section

# Classes whose heads answer something else.
HEADS = ("classifier.", "projector.", "qa_outputs.", "score.")


def reads(hf: Mapping[str, Any]) -> bool:
    """Whether config.json is of one of these."""
    return hf.get("model_type") in (*hf_bert.KINDS, *hf_speech.KINDS, "vit_mae")


def read(path: pathlib.Path, hf: Mapping[str, Any], flat: Mapping[str, Any]) -> Imported:
    """A folder's model, with the parts of its pre-training that the file has.

    Raises UserError naming field or key.
    """
    section, kind = Section("config.json", hf), hf["model_type"]
    if any(key.startswith(HEADS) for key in flat):
        raise UserError(
            f"config.json: architectures={hf.get('architectures')}: of a {kind} model only the "
            "encoder and its pre-training can be read; save its encoder alone to keep that"
        )
    if kind == "vit_mae":
        return _mae(section, flat, hf_files.optional_json(path / "preprocessor_config.json"))
    if kind in hf_speech.KINDS:
        return _speech(kind, section, flat, hf_speech.letters(path, hf))
    flat = hf_bert.names(flat)
    config = hf_bert.config(kind, section, flat, hf_files.special_ids(path))
    aside = hf_bert.aside(kind, config, flat)
    flat = {key: value for key, value in flat.items() if key not in aside}
    prefix, naming = hf_bert.prefix_of(kind, flat), hf_bert.names_ids(kind, flat)
    rules = hf_bert.rules(kind, config, prefix, naming)
    return _imported("bert_text", config, flat, rules, [], dict)


def _mae(hf: Section, flat: Mapping[str, Any], preprocessor: Any) -> Imported:
    hf.only({"hidden_act": "gelu", "qkv_bias": True})
    hf.only({"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0})
    flat = mae.modern(flat)
    about = {
        "heads": hf.integer("num_attention_heads", 1, 2**16, 12),
        "decoder_heads": hf.integer("decoder_num_attention_heads", 1, 2**16, 16),
        "norm_pix_loss": hf.flag("norm_pix_loss"),
        "eps": float(hf.number("layer_norm_eps", 0, 1, 1e-12)),
    }
    config = mae.config({mae.original(key): value for key, value in flat.items()}, about)
    config["mask"]["share"] = float(hf.number("mask_ratio", 0, 1, 0.75))
    front = config["frontend"]
    size, given = config["data"]["image_size"], (tuple(front["mean"]), tuple(front["std"]))
    front["mean"], front["std"] = hf_config.pixels(preprocessor, size, *given)
    prefix = mae.ENCODER if any(key.startswith(mae.ENCODER) for key in flat) else ""
    decoder = any(key.startswith("decoder.") for key in flat)
    rules, constants = mae.hf_rules(config, decoder, prefix)
    return _imported("mae_image", config, flat, rules, constants, mae.modern)


def _speech(kind: str, hf: Section, flat: Mapping[str, Any], letters: Any) -> Imported:
    config = hf_speech.config(kind, hf)
    rules = hf_speech.rules_of(kind, config, flat)
    top = hf_speech.letters_rules(flat, config["trunk"]["width"])
    head = hf_speech.ctc_head(hf, letters) if top else None
    return _imported(f"{kind}_audio", config, flat, rules, [], dict, head, top)


def _imported(system, config, flat, rules, constants, names, head=None, top=()) -> Imported:
    placed = hf_rules.placed("student", rules) + hf_rules.placed("head", top)
    tree, report = keymap.convert(flat, placed, constants, "the model")
    if head is not None:
        head["params"] = tree["head"]
    layout = Layout(rules, [], constants, [], names, dict)
    return Imported(system, config, tree["student"], None, {}, head, report, layout)
