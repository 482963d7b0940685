"""What a fairseq configuration of wav2vec 2.0 or HuBERT says, in our recipes' fields."""

from typing import Any

from d2v_jax.common.checks import UserError
from d2v_jax.configs import hubert, wav2vec2
from d2v_jax.interop.fairseq import specs
from d2v_jax.interop.fairseq.original import Original, dtype, mlp_ratio
from d2v_jax.interop.sections import Section

# Fields whose other values our model cannot represent. No published model uses them.
ONLY = {
    "layer_type": "transformer",
    "activation_fn": "gelu",
    "pos_enc_type": "abs",
    "pos_conv_depth": 1,
    "adp_num": -1,
    "conv_pos_batch_norm": False,
}
# What shapes training alone.
TRAINING_ONLY = {
    "mask_selection": "static",
    "mask_other": 0,
    "no_mask_overlap": False,
    "mask_dropout": 0,
    "mask_channel_prob": 0,
    "target_glu": False,
    "quantize_targets": True,
    "quantize_input": False,
    "quantizer_depth": 1,
    "negatives_from_everywhere": False,
    "cross_sample_negatives": 0,
    "codebook_negatives": 0,
    "skip_masked": False,
}
NORMS = {"default": "first", "layer_norm": "each"}


def wav2vec2_config(original: Original) -> dict[str, Any]:
    """The recipe fields of a wav2vec 2.0 model, as a nested dict.

    Raises UserError for a field that our model cannot represent.
    """
    model, fields = original.cfg.section("model"), wav2vec2.get_config().to_dict()
    fields["recipe"] = "fairseq_wav2vec2_audio"
    _encoder(fields, original, model)
    if original.finetuned:
        return fields
    projected = _projected(fields, model)
    start, end, decay = _temperatures(model)
    weights = _weights(original, [0.1, 10.0])
    fields["contrast"] |= {
        "groups": model.integer("latent_groups", 1, 2**16, 2),
        "entries": model.integer("latent_vars", 1, 2**20, 320),
        "width": model.integer("latent_dim", 0, 2**16, 0) or projected,
        "projected": projected,
        "negatives": model.integer("num_negatives", 1, 2**16, 100),
        "temperature": float(model.number("logit_temp", 1e-6, 1e6, 0.1)),
        "noise_start": start,
        "noise_end": end,
        "noise_decay": decay,
        "diversity": weights[0],
        "penalty": weights[1],
        "input_dropout": float(model.number("dropout_input", 0, 1, 0)),
        "target_dropout": float(model.number("dropout_features", 0, 1, 0)),
    }
    return fields


def hubert_config(original: Original) -> dict[str, Any]:
    """The same of HuBERT."""
    model, fields = original.cfg.section("model"), hubert.get_config().to_dict()
    fields["recipe"] = "fairseq_hubert_audio"
    _encoder(fields, original, model)
    fields["frontend"]["padded_frames"] = "wholly"
    if original.finetuned:
        return fields
    projected = _projected(fields, model)
    rows = original.shape("label_embs_concat", 2)[0]
    criterion, task = original.cfg.optional("criterion"), original.cfg.optional("task")
    width = original.shape("final_proj.weight", 2)[0]
    labels = task.fields.get("labels")
    count = len(labels) if isinstance(labels, list) and labels else max(1, width // projected)
    fields["clusters"] |= {
        "classes": _classes(original, rows, count),
        "projected": projected,
        "untied": model.flag("untie_final_proj", False),
        "temperature": float(model.number("logit_temp", 1e-6, 1e6, 0.1)),
        "rate": float(model.number("label_rate", 1e-3, 1e5, task.fields.get("label_rate", 50))),
        "hidden": float(criterion.number("pred_masked_weight", 0, 1e9, 1)),
        "shown": float(criterion.number("pred_nomask_weight", 0, 1e9, 0)),
        "penalty": _weights(original, [10.0])[0],
        "input_dropout": float(model.number("dropout_input", 0, 1, 0)),
    }
    for name in ("rate", "classes", "special"):
        fields["data"][f"unit_{name}"] = fields["clusters"][name]
    if count > 1:
        fields["data"]["units"] = tuple(f"units/{i + 1}" for i in range(count))
    return fields


def _encoder(fields: dict[str, Any], original: Original, model: Section) -> None:
    """Frontend, positions, trunk and mask."""
    model.only(ONLY)
    width = model.integer("encoder_embed_dim", 1, 2**16)
    mode = model.fields.get("extractor_mode", "default")
    if mode not in NORMS:
        raise UserError(f"{model.name}.extractor_mode={mode!r} is not one of {', '.join(NORMS)}")
    fields["frontend"] |= {
        "conv_layers": specs.conv_layers(
            f"{model.name}.conv_feature_layers",
            model.fields.get("conv_feature_layers")
            or "[(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512,2,2)] + [(512,2,2)]",
        ),
        "conv_norm": NORMS[mode],
        "conv_bias": model.flag("conv_bias"),
        "gradient": float(model.number("feature_grad_mult", 0, 1e6, 1)),
    }
    fields["positions"] |= {
        "conv_kernel": model.integer("conv_pos", 1, 10_000, 128),
        "conv_groups": model.integer("conv_pos_groups", 1, 2**16, 16),
    }
    before = model.flag("layer_norm_first")
    fields["trunk"] |= {
        "width": width,
        "heads": model.integer("encoder_attention_heads", 1, width),
        "depth": model.integer("encoder_layers", 1, 1000),
        "mlp_ratio": mlp_ratio(width, model.integer("encoder_ffn_embed_dim", 1, 2**20)),
        "block": "plain_pre_norm" if before else "post_norm",
        "input_norm": not before,
        "output_norm": before,
        "dtype": dtype(original.cfg, _dtype(model, fields["trunk"]["dtype"])),
    }
    if original.finetuned:
        return
    model.only(TRAINING_ONLY)
    dropout = float(model.number("dropout", 0, 1, 0.1))
    fields["trunk"] |= {
        "input_dropout": dropout if not before else 0.0,
        "dropout": dropout,
        "attention_dropout": float(model.number("attention_dropout", 0, 1, 0.1)),
        "activation_dropout": float(model.number("activation_dropout", 0, 1, 0)),
        "layer_drop": float(model.number("encoder_layerdrop", 0, 1, 0)),
    }
    fields["mask"] |= {
        "share": float(model.number("mask_prob", 0, 1, fields["mask"]["share"])),
        "block": model.integer("mask_length", 1, 2**16, 10),
    }
    if not model.flag("require_same_masks", True):
        fields["mask"]["neighbours"] = 1


def _dtype(model: Section, default: str) -> str:
    """The model keeps a copy of whether the run was in half precision."""
    if "fp16" not in model.fields:
        return default
    return "bfloat16" if model.flag("fp16") else "float32"


def _projected(fields: dict[str, Any], model: Section) -> int:
    """The width that is compared, D where the file says 0."""
    return model.integer("final_dim", 0, 2**16, 0) or fields["trunk"]["width"]


def _temperatures(model: Section) -> tuple[float, ...]:
    value = model.fields.get("latent_temp", (2, 0.5, 0.999995))
    if isinstance(value, str):
        value = [float(part) for part in value.strip("()[] ").split(",")]
    good = isinstance(value, list | tuple) and len(value) == 3
    if not good or not all(isinstance(one, int | float) and one > 0 for one in value):
        raise UserError(f"{model.name}.latent_temp={value!r} must be three positive numbers")
    return tuple(float(one) for one in value)


def _weights(original: Original, default: list[float]) -> list[float]:
    """The weights of the terms beside the main one."""
    criterion = original.cfg.optional("criterion")
    value = criterion.fields.get("loss_weights", default)
    good = isinstance(value, list | tuple) and len(value) in (1, len(default))
    if not good or not all(isinstance(one, int | float) and one >= 0 for one in value):
        raise UserError(f"{criterion.name}.loss_weights={value!r} must be {len(default)} numbers")
    value = [float(one) for one in value]
    return value * len(default) if len(value) < len(default) else value


def _classes(original: Original, rows: int, count: int) -> tuple[int, ...]:
    """How many rows of the embeddings are each label set's; only their sum is in the weights."""
    if count == 1:
        return (rows,)
    known = original.cfg.optional("task").fields.get("classes_per_label_set")
    if isinstance(known, list | tuple) and len(known) == count and sum(known) == rows:
        return tuple(known)
    if rows % count:
        raise UserError(
            f"label_embs_concat has {rows} rows for {count} label sets of different sizes, and "
            "the file does not say which are whose (cfg.task.classes_per_label_set)"
        )
    return (rows // count,) * count
