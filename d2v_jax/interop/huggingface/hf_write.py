"""Our trees as a Hugging Face folder that `transformers` loads with equal outputs."""

import logging
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from d2v_jax.common import trees
from d2v_jax.common.checks import UserError
from d2v_jax.interop import keymap
from d2v_jax.interop.huggingface import hf_export, hf_files, hf_rules, hf_siblings_write

WRITTEN = "v1"  # of data2vec, their classes are of this version
# Heads of ours that compute what one of theirs does.
SAME = {("v1_image", "mean_classes"): "image_classes"}
LEFT_OUT = ("decoder",)  # parts of pre-training alone, which their classes do not have

log = logging.getLogger("d2v")


def system_of(config: Mapping[str, Any]) -> str:
    """As what a fine-tuned model is written, by the encoder it has."""
    if config["positions"]["add"] == "normed_conv":
        return "wav2vec2_audio"
    return f"{WRITTEN}_{config['modality']}"


def write_hf(
    folder: str | os.PathLike,
    system: str,
    config: Mapping[str, Any],
    student: trees.Tree,
    head: Mapping[str, Any] | None = None,
) -> list[str]:
    """Writes config.json, model.safetensors (float32) and, but for text, the preprocessor's file.

    `system`: "v1_audio", "v1_image", "v1_text", or a sibling's ("bert_text", "mae_image",
    "wav2vec2_audio", "hubert_audio"); `config`: our recipe as a nested dict; `head`:
    as `read_hf` gives it, `labels` optional. Labels of a "ctc" head also become a vocab.json.
    Returns the paths of the leaves left out: data2vec's decoder, HuBERT's clusters. A text model's
    tokenizer is no part of it. Raises UserError for a data2vec 2.0 model and for fields that no
    class of theirs expresses.
    """
    if head is not None:
        head = {**head, "kind": SAME.get((system, head["kind"]), head["kind"])}
        if "layers" in head["params"]:
            raise UserError(
                "head.layers='weighted': no Hugging Face class of data2vec mixes its blocks"
            )
    if system in hf_siblings_write.SYSTEMS:
        content, preprocessor, flat, parts = hf_siblings_write.content(
            system, config, student, head
        )
    else:
        hf_export.check(system, config, head)
        mask = "mask" in student
        flat = _flat(system, config, student, head, mask)
        content = hf_export.config_json(system, config, head, mask)
        preprocessor = hf_export.preprocessor_json(config)
        parts = [part for part in LEFT_OUT if part in student]
    hf_files.require_finite(flat)
    path = pathlib.Path(folder).expanduser()
    if path.exists() and not path.is_dir():
        raise UserError(f"{path} is a file; name a folder to write to")
    for stale in (f"{hf_files.WEIGHTS}.index.json", hf_files.TORCH_WEIGHTS):
        if (path / stale).exists():
            raise UserError(f"{path} holds another model's {stale}; name an empty folder")
    hf_files.write_safetensors(path / hf_files.WEIGHTS, flat, {"format": "pt"})
    if preprocessor is not None:
        hf_files.write_json(path / "preprocessor_config.json", preprocessor)
    if head is not None and head["kind"] == "ctc" and _labels(head):
        _write_vocabulary(path, head)
    hf_files.write_json(path / hf_files.CONFIG, content)
    if parts:
        log.info("not written, as Hugging Face's classes have no such part: %s", ", ".join(parts))
    return [name for name, _ in trees.leaves({part: student[part] for part in parts})]


def _flat(
    system: str,
    config: Mapping[str, Any],
    student: trees.Tree,
    head: Mapping[str, Any] | None,
    mask: bool,
) -> dict[str, np.ndarray]:
    """Their names and layouts; a bare model has no prefix."""
    kind = None if head is None else head["kind"]
    bare = kind is None or kind.endswith("_pooler")
    prefix = "" if bare else hf_rules.PREFIXES[system]
    rules = hf_rules.encoder(system, config, prefix, mask, scaled=True, types=1)
    rules = hf_rules.placed("student", rules)
    tree = {"student": {k: v for k, v in student.items() if k not in LEFT_OUT}}
    if head is not None:
        params = head["params"]
        count = len(params["out"]["bias"]) if "out" in params else 0
        top = hf_rules.head(kind, config["trunk"]["width"], count, prefix, "norm" in params)
        rules += hf_rules.placed("head", top)
        tree["head"] = params
    return keymap.invert(tree, rules)


def _write_vocabulary(path: pathlib.Path, head: Mapping[str, Any]) -> None:
    """The tokenizer of a CTC model: letters by output, words parted by "|"."""
    labels, blank = _labels(head), head.get("blank", 0)
    if len(labels) != len(head["params"]["out"]["bias"]):
        raise UserError(
            f"the head has {len(head['params']['out']['bias'])} outputs, but {len(labels)} labels"
        )
    hf_files.write_json(path / "vocab.json", {name: i for i, name in enumerate(labels) if name})
    special = {"bos_token": "<s>", "eos_token": "</s>", "word_delimiter_token": "|"}
    known = {role: name if name in labels else None for role, name in special.items()}
    hf_files.write_json(
        path / "tokenizer_config.json",
        {
            **known,
            "do_lower_case": False,
            "pad_token": labels[blank],
            "tokenizer_class": "Wav2Vec2CTCTokenizer",
            "unk_token": "<unk>" if "<unk>" in labels else labels[blank],
        },
    )


def _labels(head: Mapping[str, Any]) -> list[str]:
    """Names by output."""
    return list(head.get("labels") or ())
