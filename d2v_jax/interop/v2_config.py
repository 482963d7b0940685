"""What a fairseq configuration of data2vec 2.0 says, in the fields of our recipes."""

import math
from collections.abc import Mapping
from typing import Any

from d2v_jax.common.checks import UserError
from d2v_jax.configs import image as base
from d2v_jax.interop.allowed import printable

IMAGES_PER_DEVICE = 16  # of the published ViT-B run (REFERENCE §10.5)

# Fields whose other values our image model cannot represent. No published model uses them.
MODEL_ONLY = {
    "layer_norm_first": False,
    "norm_affine": True,
    "batch_norm_target_layer": False,
    "start_drop_path_rate": 0,
    "end_drop_path_rate": 0,
    "encoder_dropout": 0,
    "post_mlp_drop": 0,
    "attention_dropout": 0,
    "activation_dropout": 0,
    "dropout_input": 0,
    "layerdrop": 0,
    "recon_loss": 0,
    "d2v_loss": 1,
    "shared_decoder": None,
}
MODALITY_ONLY = {
    "prenet_layerdrop": 0,
    "prenet_dropout": 0,
    "start_drop_path_rate": 0,
    "end_drop_path_rate": 0,
    "mask_prob_min": None,
    "inverse_mask": True,
    "keep_masked_pct": 0,
    "add_masks": False,
    "remove_masks": False,
    "mask_dropout": 0,
    "mask_channel_prob": 0,
    "local_grad_mult": 1,
    "use_alibi_encoder": False,
    "fixed_positions": True,
    "transformer_decoder": False,
    "enc_dec_transformer": False,
    "in_chans": 3,
}
DECODER_ONLY = {
    "input_dropout": 0,
    "add_positions_masked": False,
    "add_positions_all": False,
    "decoder_residual": True,
}


class Section:
    """A group of their fields; every complaint names the field and its value."""

    def __init__(self, name: str, fields: Any) -> None:
        if not isinstance(fields, Mapping):
            raise UserError(
                f"{name} should be a group of fields, but is {_brief(fields)}; the checkpoint "
                "must carry the configuration it was trained with"
            )
        self.name, self.fields = name, fields

    def section(self, field: str) -> "Section":
        """A group inside this one."""
        return Section(f"{self.name}.{field}", self.fields.get(field))

    def only(self, expected: Mapping[str, Any]) -> None:
        """Refuses fields whose value our model cannot represent; absent ones pass."""
        for field, value in expected.items():
            if (got := self.fields.get(field, value)) != value:
                raise UserError(
                    f"{self.name}.{field}={_brief(got)}: our image model only knows {value!r}"
                )

    def integer(self, field: str, low: int, high: int) -> int:
        """A required whole number."""
        value = self.number(field, low, high)
        if value != int(value):
            raise UserError(f"{self.name}.{field}={value} must be a whole number")
        return int(value)

    def number(self, field: str, low: float, high: float) -> float:
        """A required number."""
        value = self.fields.get(field)
        good = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not good or not math.isfinite(value) or not low <= value <= high:
            raise UserError(
                f"{self.name}.{field}={_brief(value)} must be a number from {low} to {high}"
            )
        return value

    def flag(self, field: str) -> bool:
        """A switch; absent means off."""
        value = self.fields.get(field, False)
        if not isinstance(value, bool):
            raise UserError(f"{self.name}.{field}={_brief(value)} must be true or false")
        return value


def _brief(value: Any) -> str:
    if isinstance(value, bool | float | None):
        return repr(value)
    if isinstance(value, int) and abs(value) < 10**18:
        return repr(value)
    return repr(printable(value)) if isinstance(value, str) else printable(value)


def image_config(
    model: Mapping[str, Any],
    modality: Mapping[str, Any],
    decoder: Mapping[str, Any],
    half_precision: bool | None = None,
    images_per_device: int = IMAGES_PER_DEVICE,
) -> dict[str, Any]:
    """The fields of configs/image.py, as a nested dict, for a v2 image model.

    `model`, `modality` and `decoder` are fairseq's `cfg.model`, its `modalities.image` and that
    one's `decoder`. `half_precision` says how the original computed (None: our default). The
    cls term of the original grows with its batch per device (REFERENCE T21), which the file does
    not always tell: `images_per_device`. Raises UserError for a field we cannot represent.
    """
    top = Section("cfg.model", model)
    encoder = Section("cfg.model.modalities.image", modality)
    head = Section("cfg.model.modalities.image.decoder", decoder)
    top.only(MODEL_ONLY)
    encoder.only(MODALITY_ONLY)
    head.only(DECODER_ONLY)
    if not isinstance(images_per_device, int) or images_per_device < 1:
        raise UserError(f"images_per_device={images_per_device!r} must be a positive whole number")
    width = top.integer("embed_dim", 4, 2**16)
    encoder.only({"embed_dim": width})
    views = top.integer("clone_batch", 1, 2**16)
    scale = None if top.fields.get("loss_scale") is None else top.number("loss_scale", 0, 1e9)

    config = base.get_config().to_dict()
    config["recipe"] = "fairseq_v2_image"
    config["data"] |= {"image_size": encoder.integer("input_size", 1, 2**16), "channels": 3}
    config["frontend"] |= {"patch_size": encoder.integer("patch_size", 1, 2**16)}
    config["trunk"] |= {
        "width": width,
        "heads": top.integer("num_heads", 1, width),
        "prenet_depth": encoder.integer("prenet_depth", 0, 1000),
        "depth": top.integer("depth", 1, 1000),
        "mlp_ratio": float(top.number("mlp_ratio", 0, 1000)),
        "norm_eps": float(top.number("norm_eps", 0, 1)),
        "prefix_tokens": encoder.integer("num_extra_tokens", 0, 1000),
    }
    if half_precision is not None:
        config["trunk"]["dtype"] = "bfloat16" if half_precision else "float32"
    config["mask"] |= {
        "kind": "inverse_blocks",
        "share": float(encoder.number("mask_prob", 0, 1)),
        "adjust": float(encoder.number("mask_prob_adjust", -1, 1)),
        "block": encoder.integer("mask_length", 1, 2**16),
        "views": views,
    }
    config["decoder"] |= {
        "width": head.integer("decoder_dim", 1, 2**16),
        "kernel": head.integer("decoder_kernel", 1, 1000),
        "groups": head.integer("decoder_groups", 1, 2**16),
        "layers": head.integer("decoder_layers", 1, 1000),
        "noise_std": float(encoder.number("mask_noise_std", 0, 1e9)),
    }
    layer_norms = {
        "instance": top.flag("instance_norm_target_layer"),
        "layer": top.flag("layer_norm_target_layer"),
    }
    final_norms = {
        "layer": top.flag("layer_norm_targets"),
        "instance": top.flag("instance_norm_targets"),
    }
    config["targets"] |= {
        "layers": top.integer("average_top_k_layers", 1, 1000),
        "site": "block" if top.flag("end_of_block_targets") else "ffn",
        "layer_norms": tuple(name for name, on in layer_norms.items() if on),
        "final_norms": tuple(name for name, on in final_norms.items() if on),
    }
    config["loss"] |= {
        "beta": float(top.number("loss_beta", 0, 1e9)),
        "scale": scale if scale is None else float(scale),
        "cls_weight": top.number("cls_loss", 0, 1e9) * images_per_device * views,
    }
    if top.flag("ema_encoder_only"):
        owns = ("trunk",)
    elif encoder.flag("ema_local_encoder"):
        owns = ("frontend", "prefix", "prenet", "trunk")
    else:
        owns = ("prefix", "prenet", "trunk")
    config["teacher"] |= {
        "owns": owns,
        "decay_start": float(top.number("ema_decay", 0, 1)),
        "decay_end": float(top.number("ema_end_decay", 0, 1)),
        "decay_steps": top.integer("ema_anneal_end_step", 0, 2**40),
    }
    return config
