"""Whose checkpoint it is, told by its keys; prefixes and heads taken off (REFERENCE §12, §14)."""

import logging
import re
from collections.abc import Mapping
from typing import Any

from d2v_jax.common.checks import UserError
from d2v_jax.interop.allowed import plain, printable
from d2v_jax.interop.fairseq import image_v1, v1_rules
from d2v_jax.interop.fairseq import told as cfg_told
from d2v_jax.interop.fairseq.original import Original
from d2v_jax.interop.sections import Section

CTC = "w2v_encoder.w2v_model."
INSIDE = "model."
HEADS = ("fc_norm.", "head.", "classification_heads.", "w2v_encoder.proj.")

# Where programs put weights: fairseq and BEiT, DeepSpeed, Lightning, others.
PLACES = ("model", "module", "state_dict", "model_state_dict")
FIELDS = ("cfg", "args")

# What tells a system, among a pre-trained model's names.
SYSTEMS = {
    "v2_audio": r"modality_encoders\.AUDIO\.",
    "v2_image": r"modality_encoders\.IMAGE\.",
    "v2_text": r"modality_encoders\.TEXT\.",
    "v1_audio": r"feature_extractor\.conv_layers\.",
    "v1_text": r"(encoder|decoder)\.sentence_encoder\.",
    "v1_image": r"patch_embed\.",
}
HUGGING_FACE = re.compile(
    r"feature_extractor\.conv_layers\.0\.conv\.|embeddings\.(patch|word)_embeddings\."
)
# Its convolution of positions tells a sibling of data2vec's from 1.0 speech.
SIBLINGS = "encoder.pos_conv.0.weight_"
TEACHERS = {"v1_text": "encoder._ema", "v1_image": "model_ema"}  # "_ema" elsewhere

log = logging.getLogger("d2v")


def recognize(checkpoint: Mapping[str, Any]) -> Original:
    """Sorts what a file holds. Raises UserError for one that holds no data2vec model."""
    checkpoint = {**checkpoint, **{f: plain(checkpoint[f]) for f in FIELDS if f in checkpoint}}
    place, weights = _weights(checkpoint)
    flat = _unwrapped(_named(place, weights), fairseq="cfg" in checkpoint or "args" in checkpoint)
    nested = {key: value for key, value in flat.items() if re.fullmatch(r"(\w+\.)?_ema", key)}
    prefix = next((p for p in (CTC, INSIDE) if any(k.startswith(p) for k in flat)), "")
    body, head = {}, {}
    for key, value in flat.items():
        if key in nested:
            continue
        inside = key.startswith(prefix) and not (not prefix and key.startswith(HEADS))
        (body if inside else head)[key.removeprefix(prefix) if inside else key] = value
    system = _system(body)
    teacher, where = None, TEACHERS.get(system, "_ema")
    if system == "v1_text":
        body = v1_rules.text_names(body)
    if system == "v1_image":
        body = image_v1.names(body)
        if nested:
            raise UserError(f"has a teacher {next(iter(nested))!r} that no published model has")
        teacher = checkpoint.get("model_ema")
    elif nested:
        teacher = nested.get(where, nested.get("decoder._ema"))
        if teacher is None or len(nested) > 1:
            names = ", ".join(sorted(nested))
            raise UserError(f"keeps teachers as {names}, where a {system} model has {where}")
    if teacher is not None:
        teacher = _named(f"{place}['{where}']" if nested else where, teacher)
    kind = _head_kind(head, system, checkpoint)
    cfg = _config(checkpoint, system, prefix)
    told = cfg is None
    if told:
        cfg = cfg_told.config(system, body, teacher)
    return Original(system, body, teacher, head, kind, prefix, f"{where}.", cfg, told)


def _weights(checkpoint: Mapping[str, Any]) -> tuple[str, Any]:
    """-> (where they are, the weights): an entry of the file, or the file itself."""
    for place in PLACES:
        if place in checkpoint:
            return place, checkpoint[place]
    if any(re.search(rf"(^|\.){p}", str(k)) for k in checkpoint for p in SYSTEMS.values()):
        return "the file", checkpoint
    found = ", ".join(printable(key) for key in list(checkpoint)[:8])
    raise UserError(f"has no entry 'model' (it has: {found or 'nothing'})")


def _unwrapped(flat: dict[str, Any], fairseq: bool) -> dict[str, Any]:
    """Without what wrappers put in front of names: of DataParallel, torch.compile, Lightning.

    What does not lie inside the wrapper, such as a loss with weights of its own, is set aside.
    Files of fairseq itself have wrappers of their own, which say what was fine-tuned.
    """
    flat = {key.replace("_orig_mod.", ""): value for key, value in flat.items()}
    while flat and all(key.startswith("module.") for key in flat):
        flat = {key.removeprefix("module."): value for key, value in flat.items()}
    pattern = re.compile(rf"((?:\w+\.)+?)(?:{'|'.join(SYSTEMS.values())})")
    bare = any(re.match(p, key) for key in flat for p in SYSTEMS.values())
    wrappers = {found[1] for key in flat if (found := pattern.match(key))}
    known = {CTC, INSIDE} if fairseq else set()
    if bare or len(wrappers) != 1 or wrappers & known:
        return flat
    return _inside(flat, wrappers.pop())


def _inside(flat: dict[str, Any], wrapper: str) -> dict[str, Any]:
    aside = [key for key in flat if not key.startswith(wrapper)]
    if aside:
        log.warning("set aside, as it is outside of %s: %s", wrapper, ", ".join(aside[:10]))
    return {key.removeprefix(wrapper): flat[key] for key in flat if key not in set(aside)}


def _named(where: str, flat: Any) -> dict[str, Any]:
    if not isinstance(flat, Mapping):
        raise UserError(f"{where} is {printable(flat)}, not a dict of names and tensors")
    for key in flat:
        if not isinstance(key, str):
            raise UserError(f"{where} has {printable(key)} for a key, not a name")
    return dict(flat)


def _system(body: Mapping[str, Any]) -> str:
    if any(HUGGING_FACE.search(key) for key in body):
        raise UserError(
            "has the names of Hugging Face's classes; put it as pytorch_model.bin into a folder "
            "beside the model's config.json, and give that folder"
        )
    found = [s for s, pattern in SYSTEMS.items() if any(re.match(pattern, k) for k in body)]
    if not found:
        names = ", ".join(printable(key) for key in list(body)[:5]) or "none"
        raise UserError(f"holds no data2vec model: its keys are of no known kind (first: {names})")
    if len(found) > 1:
        raise UserError(f"holds several models ({', '.join(found)}); only one can be read")
    if found == ["v1_audio"] and any(key.startswith(SIBLINGS) for key in body):
        labelled = any(key.startswith("label_embs") for key in body)
        return "hubert_audio" if labelled else "wav2vec2_audio"
    return found[0]


def _head_kind(head: Mapping[str, Any], system: str, checkpoint: Mapping[str, Any]) -> str | None:
    if not head:
        return None
    kinds = {"audio": "ctc", "image": "image_classes", "text": "text_classes"}
    kind = kinds[system.split("_")[1]]
    name = Section("cfg", _fields(checkpoint.get("cfg"))).optional("model").word("_name")
    return "audio_classes" if kind == "ctc" and name == "audio_classification" else kind


def _config(checkpoint: Mapping[str, Any], system: str, prefix: str) -> Section | None:
    """The configuration of pre-training, wherever a fine-tuned file keeps it; None without one."""
    if system == "v1_image":
        return Section("args", _fields(checkpoint.get("args")))
    name = "cfg" if checkpoint.get("cfg") is not None else "args"
    fields = checkpoint.get(name)
    if fields is None and not prefix:
        return None
    cfg = _nested(Section(name, fields))
    if prefix:
        inner = "w2v_args" if prefix == CTC else "pretrained_model_args"
        cfg = _nested(cfg.section("model").section(inner))
    return cfg


def _nested(cfg: Section) -> Section:
    """Old files keep all fields in one group: every section is that group."""
    if isinstance(cfg.fields.get("model"), Mapping):
        return cfg
    if not {"encoder_layers", "w2v_args", "pretrained_model_args"} & cfg.fields.keys():
        return cfg
    return Section(cfg.name, {part: cfg.fields for part in ("model", "task", "common")})


def _fields(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
