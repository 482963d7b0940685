"""What a fairseq configuration of data2vec 1.0 speech or text says, in our recipes' fields."""

from typing import Any

from d2v_jax.common.checks import UserError
from d2v_jax.configs import v1_audio_base, v1_text_base
from d2v_jax.interop.fairseq import specs
from d2v_jax.interop.fairseq.original import Original, dtype, last_blocks, mlp_ratio, window
from d2v_jax.interop.sections import Section

# Fields whose other values our model cannot represent. No published model uses them.
AUDIO_ONLY = {
    "extractor_mode": "layer_norm",
    "layer_type": "transformer",
    "activation_fn": "gelu",
    "layer_norm_first": False,
    "conv_bias": False,
    "pos_enc_type": "abs",
    "adp_num": -1,
    "batch_norm_target_layer": False,
    "group_norm_target_layer": False,
    "ema_transformer_only": True,
}
TEXT_ONLY = {
    "activation_fn": "gelu",
    "adaptive_input": False,
    "no_token_positional_embeddings": False,
    "layernorm_embedding": True,
    "no_scale_embedding": True,
}
ENCODER_ONLY = {"normalize_before": False, "learned_pos": True}
# What shapes training alone: fine-tuning overwrites it, and then it says nothing about the model.
AUDIO_TRAINING_ONLY = {
    "activation_dropout": 0,
    "dropout_input": 0,
    "feature_grad_mult": 1,
    "mask_selection": "static",
    "mask_other": 0,
    "no_mask_overlap": False,
    "mask_dropout": 0,
    "mask_channel_prob": 0,
}
TASK_ONLY = {"leave_unmasked_prob": 0, "random_token_prob": 0, "mask_whole_words": False}


def audio(original: Original) -> dict[str, Any]:
    """The recipe fields of a speech model, as a nested dict.

    Raises UserError for a field that our model cannot represent.
    """
    model = original.cfg.section("model")
    model.only(AUDIO_ONLY)
    fields = v1_audio_base.get_config().to_dict()
    width = model.integer("encoder_embed_dim", 1, 2**16)
    layers = model.integer("pos_conv_depth", 1, 100, 1)
    if layers == 1:
        raise UserError(
            f"{model.name}.pos_conv_depth=1: a single weight-normed position convolution is that "
            "of wav2vec 2.0; our model only knows a stack of them"
        )
    fields["recipe"] = "fairseq_v1_audio"
    fields["frontend"]["conv_layers"] = specs.conv_layers(
        f"{model.name}.conv_feature_layers", model.text("conv_feature_layers")
    )
    fields["positions"] |= {
        "conv_layers": layers,
        "conv_kernel": window(model, "conv_pos", layers),
        "conv_groups": model.integer("conv_pos_groups", 1, 2**16),
    }
    fields["trunk"] |= _trunk(
        width,
        model.integer("encoder_ffn_embed_dim", 1, 2**20),
        model.integer("encoder_layers", 1, 1000),
        model.integer("encoder_attention_heads", 1, width),
        dtype(original.cfg, fields["trunk"]["dtype"]),
    )
    positions = () if model.flag("ema_layers_only", True) else ("positions",)
    fields["teacher"]["owns"] = (*positions, "prenet", "trunk")
    _targets_and_teacher(fields, model)
    if fields["targets"]["final_norms"][-1:] == ("instance",):
        # Without that norm the original's layers lie time first, and it averages over examples.
        model.only({"instance_norm_target_layer": True})
    if original.trained:
        model.only(AUDIO_TRAINING_ONLY)
        dropout = float(model.number("dropout", 0, 1))
        fields["trunk"] |= {
            "input_dropout": dropout,
            "dropout": dropout,
            "attention_dropout": float(model.number("attention_dropout", 0, 1)),
            "layer_drop": float(model.number("encoder_layerdrop", 0, 1)),
        }
        fields["mask"] |= {
            "share": float(model.number("mask_prob", 0, 1)),
            "block": model.integer("mask_length", 1, 2**16),
        }
        if not model.flag("require_same_masks", True):
            fields["mask"]["neighbours"] = 1
    return fields


def text(original: Original) -> dict[str, Any]:
    """The recipe fields of a text model, as a nested dict.

    A model fine-tuned through fairseq's RoBERTa class names its sizes as RoBERTa does. Raises
    UserError for a field that our model cannot represent.
    """
    model, task = original.cfg.section("model"), original.cfg.optional("task")
    fields = v1_text_base.get_config().to_dict()
    fields["recipe"] = "fairseq_v1_text"
    if "transformer" in model.fields:
        stack = model.section("transformer")
        encoder, prefix = stack.section("encoder"), ""
    else:
        stack = encoder = model
        prefix = "encoder_"
    stack.only(TEXT_ONLY)
    encoder.only({prefix + name: value for name, value in ENCODER_ONLY.items()})
    width = encoder.integer(f"{prefix}embed_dim", 1, 2**16)
    fields["trunk"] |= _trunk(
        width,
        encoder.integer(f"{prefix}ffn_embed_dim", 1, 2**20),
        encoder.integer(f"{prefix}layers", 1, 1000),
        encoder.integer(f"{prefix}attention_heads", 1, width),
        dtype(original.cfg, fields["trunk"]["dtype"]),
    )
    table = "encoder.sentence_encoder.embed_{}.weight"
    words = original.shape(table.format("tokens"), 2)[0]
    most = original.shape(table.format("positions"), 2)[0] - 2
    if most < 1:
        raise UserError(f"{table.format('positions')} has no rows for positions")
    fields["frontend"] |= {"vocab_size": words, "mask_id": words - 1, "max_tokens": most}
    fields["data"]["tokens"] = min(most, task.integer("tokens_per_sample", 1, 2**20, 512))
    maps = model.integer("head_layers", 1, 100, 2 if original.finetuned else 1)
    fields["decoder"]["hidden"] = (2 * width,) * (maps - 1)
    if original.finetuned:  # nothing about pre-training is known, and RoBERTa has no such fields
        depth = fields["trunk"]["depth"]
        fields["targets"]["blocks"] = tuple(range(max(0, depth - 10), depth))
        return fields
    copied = model.flag("ema_transformer_layers_only", True)
    fields["teacher"]["owns"] = ("trunk",) if copied else ("frontend", "trunk")
    model.only({"batch_norm_target_layer": False})
    _targets_and_teacher(fields, model)
    if original.told:
        return fields
    stack.only({"activation_dropout": 0})
    task.only(TASK_ONLY)
    fields["frontend"]["dropout"] = float(stack.number("dropout", 0, 1))
    fields["trunk"] |= {
        "dropout": fields["frontend"]["dropout"],
        "attention_dropout": float(stack.number("attention_dropout", 0, 1)),
        "layer_drop": float(encoder.number("layerdrop", 0, 1, 0)),
    }
    base = fields["mask"]
    fields["mask"] |= {
        "share": float(task.number("mask_prob", 0, 1, base["share"])),
        "block": task.integer("mask_multiple_length", 1, 2**16, base["block"]),
    }
    return fields


def _trunk(width: int, mlp: int, depth: int, heads: int, dtype: str) -> dict[str, Any]:
    return {
        "width": width,
        "heads": heads,
        "depth": depth,
        "mlp_ratio": mlp_ratio(width, mlp),
        "dtype": dtype,
    }


def _targets_and_teacher(fields: dict[str, Any], model: Section) -> None:
    layer_norms = {
        "instance": model.flag("instance_norm_target_layer"),
        "layer": model.flag("layer_norm_target_layer"),
    }
    final_norms = {
        "layer": model.flag("layer_norm_targets"),
        "instance": model.flag("instance_norm_targets"),
    }
    fields["targets"] |= {
        "blocks": last_blocks(model, "average_top_k_layers", fields["trunk"]["depth"]),
        "layer_norms": tuple(name for name, on in layer_norms.items() if on),
        "final_norms": tuple(name for name, on in final_norms.items() if on),
    }
    scale = model.fields.get("loss_scale")
    # Text takes a scale that is not positive for 1 / sqrt(D).
    scale = None if scale is None else float(model.number("loss_scale", -1e9, 1e9))
    if scale is not None and scale <= 0 and fields["modality"] == "text":
        scale = None
    fields["loss"] |= {"beta": float(model.number("loss_beta", 0, 1e9)), "scale": scale}
    fields["teacher"] |= {
        "decay_start": float(model.number("ema_decay", 0, 1)),
        "decay_end": float(model.number("ema_end_decay", 0, 1)),
        "decay_steps": model.integer("ema_anneal_end_step", 0, 2**40),
    }
