"""Hugging Face folders of data2vec, into our recipe fields and trees, without their libraries."""

import logging
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from d2v_jax.common.checks import UserError
from d2v_jax.interop import keymap
from d2v_jax.interop.allowed import printable
from d2v_jax.interop.fairseq.reader import Imported
from d2v_jax.interop.huggingface import hf_files, hf_rules, hf_siblings, hf_speech
from d2v_jax.interop.huggingface.hf_config import read_config, system_of
from d2v_jax.interop.keymap import Rule
from d2v_jax.interop.layout import Layout
from d2v_jax.interop.sections import Section

# Class names and the heads they have; None: whatever the file holds.
CLASSES = {
    "v1_audio": {"Data2VecAudioModel": "none", "Data2VecAudioForCTC": "ctc"},
    "v1_image": {
        "Data2VecVisionModel": "none",
        "Data2VecVisionForImageClassification": "image_classes",
    },
    "v1_text": {
        "Data2VecTextModel": "none",
        "Data2VecTextForMaskedLM": "none",
        "Data2VecTextForSequenceClassification": "text_classes",
    },
}
REFUSED = (
    "ForSequenceClassification",
    "ForAudioFrameClassification",
    "ForXVector",
    "ForCausalLM",
    "ForMultipleChoice",
    "ForTokenClassification",
    "ForQuestionAnswering",
    "ForSemanticSegmentation",
)
SET_ASIDE = "(set aside)"

log = logging.getLogger("d2v")


def read_hf(folder: str | os.PathLike) -> Imported:
    """Reads a folder with config.json and weights of a data2vec class of Hugging Face.

    Weights: model.safetensors or pytorch_model.bin, whole or in shards. `teacher` is None and
    `student` has no decoder: such folders have neither. A vision model without a mask token, and a
    speech model without a mask embedding, leave the part "mask" out. `head` is None or a dict:
        kind     "ctc", "image_classes", "text_classes", "text_pooler", "image_pooler"
        params   out {kernel, bias}; image classes and pooler: norm {scale, bias}, absent where
                 the class token is read instead of a mean; text: dense {kernel, bias}
        labels   tuple of names by output, None where the folder has none
        blank    "ctc": the output that means no label
        norm_eps image classes and pooler
    The masked-language-model head of text is set aside: data2vec does not train it. In `report`
    its keys follow "(set aside)". Raises UserError naming folder, file, field or key.
    """
    path = hf_files.open_folder(folder)
    hf = hf_files.read_json(path / hf_files.CONFIG)
    try:
        if hf_siblings.reads(hf):
            return hf_siblings.read(path, hf, hf_files.read_weights(path))
        system = system_of(hf)
        expected = _expected_head(system, hf.get("architectures"))
        preprocessor = hf_files.optional_json(path / "preprocessor_config.json")
        config = read_config(system, hf, preprocessor if system == "v1_image" else None)
        labels = _labels(system, path, hf)
        flat, aside = _split(system, hf_files.read_weights(path))
        section = Section("config.json", hf)
        return _import(system, section, config, flat, aside, expected, labels)
    except UserError as error:
        text = str(error)
        raise UserError(text if text.startswith(str(path)) else f"{path}: {text}") from None


def _expected_head(system: str, architectures: Any) -> str | None:
    """The head of the class the folder was saved from; None when the class is not known."""
    if not isinstance(architectures, list) or not architectures:
        return None
    name = printable(architectures[0])
    if name in CLASSES[system]:
        return CLASSES[system][name]
    if name.endswith(REFUSED) or any(name in classes for classes in CLASSES.values()):
        raise UserError(
            f"config.json: architectures={[name]!r}: of a {system} model, only "
            f"{', '.join(CLASSES[system])} can be read; save its encoder alone to keep that"
        )
    return None


def _split(system: str, flat: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """-> (what their code learns, keys to be set aside); integer buffers are dropped."""
    kept = {}
    for key, value in flat.items():
        if not isinstance(key, str):
            raise UserError(f"the weights have {printable(key)} for a key, not a name")
        if key.split(".")[-1] not in hf_rules.BUFFERS:
            kept[key] = value
    untrained = system == "v1_text"  # masked language modelling
    return kept, [key for key in kept if untrained and key.startswith("lm_head.")]


def _head_kind(system: str, flat: Mapping[str, Any], prefix: str) -> str:
    """The head the keys speak of."""
    if system == "v1_audio":
        return "ctc" if any(key.startswith("lm_head.") for key in flat) else "none"
    word = system.removeprefix("v1_")
    if any(key.startswith("classifier.") for key in flat):
        return f"{word}_classes"
    pooled = any(key.startswith(f"{prefix}pooler.") for key in flat)
    return f"{word}_pooler" if pooled else "none"


def _import(
    system: str,
    hf: Section,
    config: dict[str, Any],
    flat: dict[str, Any],
    aside: list[str],
    expected: str | None,
    labels: tuple[str, ...] | None,
) -> Imported:
    prefix = hf_rules.PREFIXES[system]
    if not any(key.startswith(prefix) for key in flat):
        prefix = ""
    kind = _head_kind(system, flat, prefix)
    if expected not in (None, "none", kind):
        kind = expected  # its keys are missing, which the conversion says by name
    if kind == "text_classes":
        aside = aside + [key for key in flat if key.startswith(f"{prefix}pooler.")]
    flat = {key: value for key, value in flat.items() if key not in aside}
    rules = hf_rules.encoder(
        system,
        config,
        prefix,
        _has_mask(system, flat, prefix),
        system == "v1_image" and hf.number("layer_scale_init_value", 0, 1e9, 0.1) > 0,
        hf.integer("type_vocab_size", 1, 2**16, 2) if system == "v1_text" else 0,
    )
    head, top = (None, []) if kind == "none" else _head(kind, hf, config, prefix, labels)
    tree, report = keymap.convert(
        flat,
        hf_rules.placed("student", rules) + hf_rules.placed("head", top),
        where="the model",
    )
    if head is not None:
        head["params"] = tree["head"]
    if aside:
        log.info("set aside, as data2vec does not train it: %s", ", ".join(aside))
    report += [(SET_ASIDE, key, ()) for key in aside]
    layout = Layout(rules, [], [], [], dict, dict)
    return Imported(system, config, tree["student"], None, {}, head, report, layout)


def _head(
    kind: str,
    hf: Section,
    config: Mapping[str, Any],
    prefix: str,
    labels: tuple[str, ...] | None,
) -> tuple[dict[str, Any], list[Rule]]:
    """-> (the head without its parameters, their rules)."""
    trunk, head, count = config["trunk"], {"kind": kind}, 0
    if kind == "ctc":
        head, count = hf_speech.ctc_head(hf, labels), hf_speech.outputs(hf)
    elif not kind.endswith("_pooler"):
        head["labels"] = labels
        count = len(labels) if labels is not None else hf.integer("num_labels", 1, 2**30, 2)
    if kind.startswith("image"):
        head["norm_eps"] = trunk["norm_eps"]
    return head, hf_rules.head(kind, trunk["width"], count, prefix, not trunk["output_norm"])


def _has_mask(system: str, flat: Mapping[str, Any], prefix: str) -> bool:
    """Whether the file has a mask embedding; features need none, whatever the fields say."""
    key = {"v1_audio": "masked_spec_embed", "v1_image": "embeddings.mask_token"}.get(system)
    return f"{prefix}{key}" in flat


def _labels(system: str, path: pathlib.Path, hf: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Names by output: of id2label, or of the vocab.json beside a speech model."""
    if system == "v1_audio":
        return hf_speech.letters(path, hf)
    names = hf.get("id2label")
    if names is None:
        return None
    ids = [str(i) for i in range(len(names))] if isinstance(names, dict) else []
    if not ids or set(ids) != {str(key) for key in names}:
        raise UserError("config.json.id2label must name the outputs 0, 1, ... without a gap")
    return tuple(str(names[i]) for i in ids)
