"""Checkpoints of the original code (fairseq), into our recipe fields and trees."""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

from d2v_jax.common.checks import UserError
from d2v_jax.interop import keymap, torch_pickle, v2_config, v2_rules
from d2v_jax.interop.allowed import printable
from d2v_jax.interop.keymap import Report

IMAGE = "modality_encoders.IMAGE."

# What the keys of other checkpoints start with, most telling first.
OTHERS = {
    "w2v_encoder.": "a speech model fine-tuned with CTC",
    "model.": "a model fine-tuned for classification",
    "modality_encoders.AUDIO.": "a data2vec 2.0 speech model",
    "modality_encoders.TEXT.": "a data2vec 2.0 text model",
    "encoder.sentence_encoder.": "a data2vec 1.0 text model",
    "feature_extractor.conv_layers.": "a data2vec 1.0 speech model",
    "rel_pos_bias.": "a data2vec 1.0 image model",
    "blocks.0.attn.relative_position_bias_table": "a fine-tuned data2vec 1.0 image model",
}


@dataclasses.dataclass(frozen=True)
class Imported:
    """A checkpoint in our terms.

    `config`: nested dict, the fields of configs/image.py. `student`, `teacher`: nested dicts of
    float32 arrays; the teacher holds what it owns, None when the file has no teacher.
    `report`: (our path, their key, our shape) of every leaf, student first.
    """

    config: dict[str, Any]
    student: dict[str, Any]
    teacher: dict[str, Any] | None
    report: Report

    def convert_student(self, flat: Mapping[str, Any]) -> dict[str, Any]:
        """Anything with the student's names and layouts, as gradients have."""
        return convert_student(flat, self.config)

    def convert_teacher(self, flat: Mapping[str, Any]) -> dict[str, Any]:
        """Anything with the teacher's names and layouts."""
        return convert_teacher(flat, self.config)


def read_fairseq(path: str | os.PathLike, images_per_device: int | None = None) -> Imported:
    """Reads a data2vec 2.0 image checkpoint of fairseq's layout, without torch.

    `images_per_device` of the original run scales the cls term; the default is what the file
    says (`dataset.batch_size`), or 16. Raises UserError naming file, key or field.
    """
    checkpoint = torch_pickle.read(path)
    try:
        if "model_ema" in checkpoint or "module" in checkpoint:
            raise UserError("holds a data2vec 1.0 image model, which cannot be converted yet")
        if "model" not in checkpoint:
            names = ", ".join(printable(key) for key in list(checkpoint)[:8])
            raise UserError(f"has no entry 'model' (it has: {names or 'nothing'})")
        return import_v2_image(checkpoint["model"], checkpoint.get("cfg"), images_per_device)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def import_v2_image(
    state: Mapping[str, Any],
    cfg: Mapping[str, Any] | None,
    images_per_device: int | None = None,
) -> Imported:
    """Converts fairseq's state dict (with the teacher under `_ema`) and nested `cfg`."""
    flat, teacher_flat = _split(state)
    _require_image(flat)
    sections = v2_config.Section("cfg", cfg)
    model = sections.section("model")
    modality = model.section("modalities").section("image")
    config = v2_config.image_config(
        model.fields,
        modality.fields,
        modality.section("decoder").fields,
        _half_precision(sections),
        _images_per_device(sections) if images_per_device is None else images_per_device,
    )
    constants = v2_rules.image_constants(config, required=True)
    student, report = keymap.convert(
        v2_rules.modernize(flat), v2_rules.image_student(config), constants, "the student"
    )
    report = [(f"student/{ours}", theirs, shape) for ours, theirs, shape in report]
    teacher = None
    if teacher_flat is not None:
        shared = [] if tuple(config["teacher"]["owns"]) == ("trunk",) else constants
        teacher, owned = keymap.convert(
            v2_rules.modernize(teacher_flat), v2_rules.image_teacher(config), shared,
            "the teacher (_ema)",
        )  # fmt: skip
        report += [(f"teacher/{ours}", f"_ema.{theirs}", shape) for ours, theirs, shape in owned]
    return Imported(config, student, teacher, report)


def convert_student(flat: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """Arrays with the student's names and layouts -> our tree; `config` is `Imported.config`.

    The fixed positions may be absent, as among gradients.
    """
    constants = v2_rules.image_constants(config, required=False)
    rules = v2_rules.image_student(config)
    return keymap.convert(v2_rules.modernize(flat), rules, constants)[0]


def convert_teacher(flat: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """Arrays with the teacher's names and layouts -> the sub-trees it owns."""
    constants = v2_rules.image_constants(config, required=False)
    rules = v2_rules.image_teacher(config)
    return keymap.convert(v2_rules.modernize(flat), rules, constants)[0]


def _split(state: Any) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """-> (student's, teacher's) flat names."""
    for where, part in (("model", state), ("model['_ema']", _ema(state))):
        if part is not None and not isinstance(part, Mapping):
            raise UserError(f"{where} is {printable(part)}, not a dict of names and tensors")
        for key in part or ():
            if not isinstance(key, str):
                raise UserError(f"{where} has {printable(key)} for a key, not a name")
    teacher = _ema(state)
    student = {key: value for key, value in state.items() if key != "_ema"}
    return student, None if teacher is None else dict(teacher)


def _ema(state: Any) -> Any:
    return state.get("_ema") if isinstance(state, Mapping) else None


def _require_image(flat: Mapping[str, Any]) -> None:
    for prefix, what in OTHERS.items():
        key = next((k for k in flat if k.startswith(prefix)), None)
        if key is not None:
            raise UserError(
                f"holds {what} (it has the key {printable(key)}); only data2vec 2.0 image "
                "models as pre-trained can be converted yet"
            )
    if not any(key.startswith(IMAGE) for key in flat):
        names = ", ".join(printable(key) for key in list(flat)[:5]) or "none"
        raise UserError(
            f"holds no data2vec model: none of its keys starts with {IMAGE} (the first: {names})"
        )


def _half_precision(cfg: v2_config.Section) -> bool | None:
    if "common" not in cfg.fields:
        return None
    common = cfg.section("common")
    return any(common.flag(name) for name in ("fp16", "bf16", "memory_efficient_fp16"))


def _images_per_device(cfg: v2_config.Section) -> int:
    dataset = cfg.fields.get("dataset")
    size = dataset.get("batch_size") if isinstance(dataset, Mapping) else None
    return size if isinstance(size, int) and size > 0 else v2_config.IMAGES_PER_DEVICE
