"""What fine-tuning put on top of an encoder (REFERENCE §12)."""

from collections.abc import Mapping
from typing import Any

from d2v_jax.common.checks import UserError
from d2v_jax.interop import keymap
from d2v_jax.interop.allowed import printable
from d2v_jax.interop.fairseq.original import Original, shape
from d2v_jax.interop.keymap import Report, Rule
from d2v_jax.interop.sections import Section

LETTERS, CLASSES = "w2v_encoder.proj", "classification_heads."


def read(
    original: Original, width: int, checkpoint: Mapping[str, Any]
) -> tuple[dict[str, Any] | None, Report]:
    """-> ({"kind", "params", ...}, report), None for a file as pre-trained.

    "ctc" and "audio_classes": params {"out"}; "ctc" has `labels`, what each output stands for,
    None where the file does not say. "image_classes": {"norm", "out"} and the norm's `norm_eps`.
    "text_classes": {"dense", "out"} and the `name` of the task.
    """
    head, extra = original.head, {}
    task = _task(checkpoint)
    match original.head_kind:
        case None:
            return None, []
        case "ctc" | "audio_classes":
            count = shape(head, f"{LETTERS}.weight", 2)[0]
            rules = keymap.linear("out", LETTERS, width, count)
            if original.head_kind == "ctc":
                extra |= {"labels": _symbols(checkpoint, count), "blank": 0}
        case "image_classes":
            count = shape(head, "head.weight", 2)[0]
            rules = [*keymap.norm("norm", "fc_norm", width)]
            rules += keymap.linear("out", "head", width, count)
            task.only({"prediction_mode": "MEAN_POOLING", "use_fc_norm": True})
            port = task.word("_name") == "data2vec_image_classification"
            extra["norm_eps"] = 1e-5 if port else 1e-6
        case _:
            task.only({"pooler_activation_fn": "tanh"})
            extra["name"], rules = _text(head, width)
    params, report = keymap.convert(head, rules, (), "the head")
    return {"kind": original.head_kind, "params": params, **extra}, report


def _task(checkpoint: Mapping[str, Any]) -> Section:
    """The fields of the model around the encoder; none where the file does not keep them."""
    cfg = checkpoint.get("cfg")
    return Section("cfg", cfg if isinstance(cfg, Mapping) else {}).optional("model")


def _text(head: Mapping[str, Any], width: int) -> tuple[str, list[Rule]]:
    names = sorted(
        {key.removeprefix(CLASSES).split(".")[0] for key in head if key.startswith(CLASSES)}
    )
    if len(names) != 1:
        found = ", ".join(map(printable, names)) or "none"
        raise UserError(f"has {len(names)} classification heads ({found}); one can be read")
    prefix = f"{CLASSES}{names[0]}"
    inner = shape(head, f"{prefix}.dense.weight", 2)[0]
    count = shape(head, f"{prefix}.out_proj.weight", 2)[0]
    rules = keymap.linear("dense", f"{prefix}.dense", width, inner)
    return names[0], rules + keymap.linear("out", f"{prefix}.out_proj", inner, count)


def _symbols(checkpoint: Mapping[str, Any], count: int) -> tuple[str, ...] | None:
    """The symbols of fairseq's target dictionary, in the order of the outputs."""
    found: Any = checkpoint
    for field in ("task_state", "target_dictionary", "symbols"):
        found = found.get(field) if isinstance(found, Mapping) else None
    good = isinstance(found, list) and all(isinstance(symbol, str) for symbol in found)
    return tuple(found) if good and len(found) == count else None
