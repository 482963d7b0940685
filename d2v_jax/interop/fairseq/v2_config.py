"""What a fairseq configuration of data2vec 2.0 says, in the fields of our recipes."""

from collections.abc import Mapping
from typing import Any

from d2v_jax.common.checks import UserError
from d2v_jax.configs import audio, image, text
from d2v_jax.interop.fairseq import specs
from d2v_jax.interop.fairseq.original import Original, dtype, last_blocks, window
from d2v_jax.interop.sections import Section

IMAGES_PER_DEVICE = 16  # of the published ViT-B run (REFERENCE §10.5)
BASES = {"audio": audio, "image": image, "text": text}

# Fields whose other values our model cannot represent. No published model uses them.
MODEL_ONLY = {
    "layer_norm_first": False,
    "norm_affine": True,
    "batch_norm_target_layer": False,
    "recon_loss": 0,
    "d2v_loss": 1,
    "shared_decoder": None,
}
MODALITY_ONLY = {
    "keep_masked_pct": 0,
    "remove_masks": False,
    "learned_alibi": False,
    "learned_alibi_scale_per_layer": False,
}
KIND_ONLY = {
    "audio": {"extractor_mode": "layer_norm", "conv_pos_pre_ln": False},
    "image": {
        "use_alibi_encoder": False,
        "fixed_positions": True,
        "transformer_decoder": False,
        "enc_dec_transformer": False,
        "in_chans": 3,
    },
    "text": {
        "use_alibi_encoder": False,
        "learned_pos": True,
        "no_scale_embedding": True,
        "layernorm_embedding": True,
        "no_token_positional_embeddings": False,
    },
}
DECODER_ONLY = {"add_positions_masked": False, "add_positions_all": False}
# What shapes training alone: fine-tuning overwrites it, and then it says nothing about the model.
TRAINING_ONLY = {"activation_dropout": 0, "dropout_input": 0, "start_drop_path_rate": 0}
MODALITY_TRAINING_ONLY = {
    "mask_prob_min": None,
    "add_masks": False,
    "mask_dropout": 0,
    "mask_channel_prob": 0,
    "local_grad_mult": 1,
}
PRENET_ONLY = {"prenet_layerdrop": 0, "start_drop_path_rate": 0, "end_drop_path_rate": 0}
KIND_TRAINING_ONLY = {
    "audio": {"inverse_mask": False, "encoder_zero_mask": True},
    "image": {"inverse_mask": True},
    "text": {"mask_length": 1},
}


def config(original: Original, images_per_device: int | None = None) -> dict[str, Any]:
    """The recipe fields of a data2vec 2.0 model, as a nested dict.

    The cls term of the original grows with its batch per device (REFERENCE T21), which the file
    does not always tell: `images_per_device`. Raises UserError for a field that our model cannot
    represent.
    """
    kind = original.system.removeprefix("v2_")
    top = original.cfg.section("model")
    encoder = top.section("modalities").section(kind)
    top.only(MODEL_ONLY)
    encoder.only(MODALITY_ONLY | KIND_ONLY[kind])
    fields = BASES[kind].get_config().to_dict()
    fields["recipe"] = f"fairseq_{original.system}"
    _trunk(fields, top, encoder)
    match kind:
        case "audio":
            _audio(fields, encoder)
        case "image":
            _image(fields, encoder)
        case "text":
            _text(fields, encoder, original)
    if original.trained or encoder.fields.get("decoder") is not None:
        _decoder(fields, encoder, kind)
    cls_weight = fields["loss"]["cls_weight"]
    _targets(fields, top)
    if original.told:
        fields["loss"]["cls_weight"] = cls_weight
    _teacher(fields, top, encoder)
    fields["trunk"]["dtype"] = dtype(original.cfg, fields["trunk"]["dtype"])
    if original.trained:
        _training(fields, top, encoder, kind)
        _cls(fields, top, original.cfg, images_per_device)
    return fields


def _trunk(fields: dict[str, Any], top: Section, encoder: Section) -> None:
    width = top.integer("embed_dim", 4, 2**16)
    prenet = encoder.integer("prenet_depth", 0, 1000)
    fields["trunk"] |= {
        "width": width,
        "heads": top.integer("num_heads", 1, width),
        "prenet_depth": prenet,
        "depth": top.integer("depth", 1, 1000),
        "mlp_ratio": float(top.number("mlp_ratio", 0, 1000, 4)),
        "norm_eps": float(top.number("norm_eps", 0, 1)),
        "prefix_tokens": encoder.integer("num_extra_tokens", 0, 1000, 0),
        "input_norm": fields["modality"] != "text" or prenet > 0,
    }
    fields["positions"]["zero_padding"] = "never"


def _audio(fields: dict[str, Any], encoder: Section) -> None:
    spec = encoder.text("feature_encoder_spec")
    layers = encoder.integer("conv_pos_depth", 1, 100)
    fields["frontend"]["conv_layers"] = specs.conv_layers(
        f"{encoder.name}.feature_encoder_spec", spec
    )
    alibi = encoder.flag("use_alibi_encoder")
    if alibi:
        encoder.only(
            {
                "learned_alibi_scale_per_head": True,
                "num_alibi_heads": fields["trunk"]["heads"],
            }
        )
    fields["positions"] |= {
        "bias": "alibi" if alibi else "none",
        "conv_layers": layers,
        "conv_kernel": window(encoder, "conv_pos_width", layers),
        "conv_groups": encoder.integer("conv_pos_groups", 1, 2**16),
    }


def _image(fields: dict[str, Any], encoder: Section) -> None:
    encoder.only({"embed_dim": fields["trunk"]["width"]})
    fields["data"] |= {"image_size": encoder.integer("input_size", 1, 2**16), "channels": 3}
    fields["frontend"] |= {"patch_size": encoder.integer("patch_size", 1, 2**16)}


def _text(fields: dict[str, Any], encoder: Section, original: Original) -> None:
    most = encoder.integer("max_source_positions", 1, 2**20)
    words = original.shape("modality_encoders.TEXT.local_encoder.embed_tokens.weight", 2)[0]
    fields["frontend"] |= {"vocab_size": words, "mask_id": words - 1, "max_tokens": most}
    fields["data"]["tokens"] = original.cfg.optional("task").integer(
        "tokens_per_sample", 1, most, min(most, 512)
    )


def _decoder(fields: dict[str, Any], encoder: Section, kind: str) -> None:
    decoder = encoder.section("decoder")
    decoder.only(DECODER_ONLY)
    width = decoder.integer("decoder_dim", 1, 2**16)
    hidden: tuple[int, ...] = ()
    if kind != "image":  # the original's 2-D decoder ignores these
        maps = decoder.integer("projection_layers", 1, 100, 1)
        ratio = decoder.number("projection_ratio", 0, 1000, 2.0)
        hidden = (int(width * ratio),) * (maps - 1)
    fields["decoder"] |= {
        "width": width,
        "kernel": decoder.integer("decoder_kernel", 1, 1000),
        "groups": decoder.integer("decoder_groups", 1, 2**16),
        "layers": decoder.integer("decoder_layers", 1, 1000),
        "residual": decoder.flag("decoder_residual", True),
        "hidden": hidden,
        "noise_std": float(encoder.number("mask_noise_std", 0, 1e9)),
    }


def _targets(fields: dict[str, Any], top: Section) -> None:
    layer_norms = {
        "instance": top.flag("instance_norm_target_layer"),
        "layer": top.flag("layer_norm_target_layer"),
    }
    final_norms = {
        "layer": top.flag("layer_norm_targets"),
        "instance": top.flag("instance_norm_targets"),
    }
    fields["targets"] |= {
        "blocks": last_blocks(top, "average_top_k_layers", fields["trunk"]["depth"]),
        "site": "block" if top.flag("end_of_block_targets") else "ffn",
        "layer_norms": tuple(name for name, on in layer_norms.items() if on),
        "final_norms": tuple(name for name, on in final_norms.items() if on),
    }
    scale = None if top.fields.get("loss_scale") is None else top.number("loss_scale", 0, 1e9)
    fields["loss"] |= {
        "beta": float(top.number("loss_beta", 0, 1e9)),
        "scale": scale if scale is None else float(scale),
        "cls_weight": 0.0,
    }


def _teacher(fields: dict[str, Any], top: Section, encoder: Section) -> None:
    """What it owns: its blocks, or all but the decoder and perhaps the local encoder (§2.1)."""
    sees, owns = "tokens", ("trunk",)
    if not top.flag("ema_encoder_only", True):
        exist = {
            "positions": fields["modality"] == "audio",
            "prefix": fields["trunk"]["prefix_tokens"] > 0,
            "prenet": fields["trunk"]["input_norm"],
            "trunk": True,
        }
        owns = tuple(part for part, there in exist.items() if there)
        if encoder.flag("ema_local_encoder"):
            sees, owns = "inputs", ("frontend", *owns)
    fields["teacher"] |= {
        "sees": sees,
        "owns": owns,
        "decay_start": float(top.number("ema_decay", 0, 1)),
        "decay_end": float(top.number("ema_end_decay", 0, 1)),
        "decay_steps": top.integer("ema_anneal_end_step", 0, 2**40),
    }


def _training(fields: dict[str, Any], top: Section, encoder: Section, kind: str) -> None:
    """Regularisers and masks."""
    top.only(TRAINING_ONLY)
    encoder.only(MODALITY_TRAINING_ONLY)
    if fields["trunk"]["prenet_depth"]:
        encoder.only(PRENET_ONLY)
    if fields["positions"]["bias"] == "alibi":
        encoder.only({"learned_alibi_scale": True})
    top.equal("encoder_dropout", "post_mlp_drop")
    normed = fields["trunk"]["input_norm"]
    fields["trunk"] |= {
        "input_dropout": float(encoder.number("prenet_dropout", 0, 1, 0)) if normed else 0.0,
        "dropout": float(top.number("encoder_dropout", 0, 1, 0)),
        "attention_dropout": float(top.number("attention_dropout", 0, 1, 0)),
        "drop_path": float(top.number("end_drop_path_rate", 0, 1, 0)),
        "layer_drop": float(top.number("layerdrop", 0, 1, 0)),
    }
    decoder = encoder.section("decoder")
    fields["decoder"]["input_dropout"] = float(decoder.number("input_dropout", 0, 1, 0.1))
    if kind == "text":
        fields["frontend"]["dropout"] = float(encoder.number("dropout", 0, 1))
    block = encoder.integer("mask_length", 1, 2**16)
    known: Mapping[str, Any] = KIND_TRAINING_ONLY[kind]
    if block == 1:  # single tokens are drawn at random, whatever the modality
        known = {name: value for name, value in known.items() if name != "inverse_mask"}
    encoder.only(known)
    fields["mask"] |= {
        "kind": "random" if block == 1 else fields["mask"]["kind"],
        "share": float(encoder.number("mask_prob", 0, 1)),
        "adjust": float(encoder.number("mask_prob_adjust", -1, 1, 0)),
        "block": block,
        "views": top.integer("clone_batch", 1, 2**16),
    }


def _cls(fields: dict[str, Any], top: Section, cfg: Section, images_per_device: int | None) -> None:
    images = images_per_device
    if images is None:
        images = cfg.optional("dataset").fields.get("batch_size")
        known = type(images) is int and images > 0
        images = images if known else IMAGES_PER_DEVICE
    if type(images) is not int or images < 1:
        raise UserError(f"images_per_device={images!r} must be a positive whole number")
    weight = top.number("cls_loss", 0, 1e9, 0)
    fields["loss"]["cls_weight"] = float(weight * images * fields["mask"]["views"])
