"""Checkpoints of the original code, into our recipe fields and trees."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from d2v_jax.common.checks import UserError
from d2v_jax.interop import cpc, keymap, mae
from d2v_jax.interop.fairseq import (
    finetuned,
    image_v1,
    schedule,
    siblings_config,
    siblings_rules,
    v1_config,
    v1_rules,
    v2_config,
    v2_rules,
)
from d2v_jax.interop.fairseq.original import Original
from d2v_jax.interop.fairseq.recognize import recognize
from d2v_jax.interop.huggingface import hf_files
from d2v_jax.interop.keymap import Report
from d2v_jax.interop.layout import Layout
from d2v_jax.interop.pickles import torch_pickle
from d2v_jax.interop.sections import Section

# What a file may do without.
PRETRAINING = ("decoder", "mask", "quantizer", "target", "prediction", "clusters")


@dataclasses.dataclass(frozen=True)
class Imported:
    """A checkpoint in our terms; all trees are nested dicts of float32 arrays.

    `system`: "v1_audio", "v1_image", "v1_text", "v2_audio", "v2_image", "v2_text",
    "wav2vec2_audio", "hubert_audio", "mae_image" or "cpc_audio".
    `config`: nested dict, the fields of configs/{audio,image,text}.py.
    `student`: without `decoder` and `mask` where the file lacks them.
    `teacher`: the parts that it averages; None when the file has no teacher.
    `copies`: further parts of the file's teacher, which the original overwrites with the
    student's at every step.
    `head`: None as pre-trained, else {"kind": ..., "params": ..., ...}, see heads.read.
    `report`: (our path, their key, our shape) of every leaf, below student/, teacher/, copy/
    and head/.
    `layout`: the key map, which also leads back.
    """

    system: str
    config: dict[str, Any]
    student: dict[str, Any]
    teacher: dict[str, Any] | None
    copies: dict[str, Any]
    head: dict[str, Any] | None
    report: Report
    layout: Layout

    def convert_student(self, flat: Mapping[str, Any]) -> dict[str, Any]:
        """Anything with the student's names and layouts, as gradients have."""
        return self.layout.convert_student(flat)

    def convert_teacher(self, flat: Mapping[str, Any]) -> dict[str, Any]:
        """Anything with the teacher's names and layouts; copied parts too."""
        return self.layout.convert_teacher(flat)


def read_fairseq(path: str | os.PathLike, images_per_device: int | None = None) -> Imported:
    """Reads a checkpoint of data2vec or a sibling, as pre-trained or fine-tuned.

    No torch is needed.

    `path`: a file of torch.save, a safetensors file, or a folder with either and no config.json.
    `images_per_device` of the original run scales the cls term of data2vec 2.0 vision; the
    default is what the file says (`dataset.batch_size`), or 16. Raises UserError naming file,
    key or field.
    """
    checkpoint = _content(pathlib.Path(path).expanduser())
    try:
        if mae.is_one(checkpoint.get("model")):
            return _masked_autoencoder(checkpoint)
        if cpc.is_one(checkpoint):
            return _predictive_coding(checkpoint)
        original = recognize(checkpoint)
        config = _config(original, images_per_device)
        if original.system != "v1_image" and original.trained:
            schedule.apply(config, original.cfg)
        return _convert(original, config, checkpoint)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _content(path: pathlib.Path) -> dict[str, Any]:
    """Of a file of torch.save, or of weights alone, as accelerate saves them."""
    if path.is_dir():
        return hf_files.read_weights(path)
    if path.suffix == ".safetensors":
        return hf_files.read_safetensors(path)
    return torch_pickle.read(path)


def _masked_autoencoder(checkpoint: Mapping[str, Any]) -> Imported:
    """Fine-tuned files are read without their heads."""
    flat, args = dict(checkpoint["model"]), Section("args", checkpoint.get("args") or {})
    flat = {k: v for k, v in flat.items() if not k.startswith(("head.", "fc_norm."))}
    about = {
        "heads": args.integer("num_heads", 0, 2**16, 0),
        "decoder_heads": args.integer("decoder_num_heads", 0, 2**16, 0),
        "norm_pix_loss": args.flag("norm_pix_loss", True),
    }
    config = mae.config(flat, about)
    rules, constants = mae.rules(config, "decoder_embed.weight" in flat)
    student, report = keymap.convert(flat, rules, constants, "the model")
    names = Layout(rules, [], constants, [], dict, dict)
    return Imported("mae_image", config, student, None, {}, None, _rows("student", report), names)


def _predictive_coding(checkpoint: Mapping[str, Any]) -> Imported:
    flat = cpc.names(checkpoint)
    config = cpc.config(flat)
    rules = cpc.rules(config, flat)
    student, report = keymap.convert(flat, rules, (), "the model")
    names = Layout(rules, [], [], [], dict, dict)
    return Imported("cpc_audio", config, student, None, {}, None, _rows("student", report), names)


def layout(system: str, config: Mapping[str, Any]) -> Layout:
    """The key map of a system whose recipe has these fields."""
    match system:
        case "v1_audio":
            return v1_rules.audio(config)
        case "v1_text":
            return v1_rules.text(config)
        case "v1_image":
            return image_v1.layout(config)
        case "wav2vec2_audio" | "hubert_audio":
            return siblings_rules.layout(config)
    return v2_rules.layout(config)


def _config(original: Original, images_per_device: int | None) -> dict[str, Any]:
    match original.system:
        case "v1_audio":
            return v1_config.audio(original)
        case "v1_text":
            return v1_config.text(original)
        case "v1_image":
            return image_v1.config(original)
        case "wav2vec2_audio":
            return siblings_config.wav2vec2_config(original)
        case "hubert_audio":
            return siblings_config.hubert_config(original)
    return v2_config.config(original, images_per_device)


def _convert(original: Original, config: dict[str, Any], checkpoint: Mapping[str, Any]) -> Imported:
    names = layout(original.system, config)
    flat = names.student_names(original.student)
    names, flat = _without_pretraining(names, flat, original)
    student, report = keymap.convert(
        flat, names.student, names.student_constants, "the student", original.prefix
    )
    rows = _rows("student", report)
    teacher, copies = None, {}
    if original.teacher is not None:
        both, report = keymap.convert(
            names.teacher_names(original.teacher),
            [*names.teacher, *names.copies],
            names.teacher_constants,
            "the teacher",
            original.teacher_prefix,
        )
        copied = {rule.ours.split("/")[0] for rule in names.copies}
        teacher = {part: tree for part, tree in both.items() if part not in copied}
        copies = {part: tree for part, tree in both.items() if part in copied}
        is_copy = lambda row: row[0].split("/")[0] in copied
        rows += _rows("teacher", [row for row in report if not is_copy(row)])
        rows += _rows("copy", [row for row in report if is_copy(row)])
    head, report = finetuned.read(original, config["trunk"]["width"], checkpoint)
    rows += _rows("head", report)
    return Imported(original.system, config, student, teacher, copies, head, rows, names)


def _without_pretraining(
    names: Layout, flat: dict[str, Any], original: Original
) -> tuple[Layout, dict[str, Any]]:
    """Leaves out the rules of parts that fine-tuning or a publisher took away.

    Features need none of them; who trains on starts them anew.
    """
    if original.finetuned and original.system == "v1_text":
        # A fresh head of fairseq's RoBERTa, of no use to anybody.
        flat = {k: v for k, v in flat.items() if not k.startswith("encoder.lm_head.")}
    there = {
        part: any(
            key in flat for rule in names.student if _part(rule) == part for key in rule.theirs
        )
        for part in PRETRAINING
    }
    kept = [rule for rule in names.student if there.get(_part(rule), True)]
    return dataclasses.replace(names, student=kept), flat


def _part(rule: keymap.Rule) -> str:
    return rule.ours.split("/")[0]


def _rows(tree: str, report: Report) -> Report:
    return [(f"{tree}/{ours}", theirs, shape) for ours, theirs, shape in report]
