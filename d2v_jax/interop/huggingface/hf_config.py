"""What a Hugging Face config.json of data2vec says, in the fields of our recipes.

It tells the shape of the encoder and its dropouts. How the model was pre-trained it does not tell:
those fields are the published base recipe's, cut to the depth.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from d2v_jax.common.checks import UserError
from d2v_jax.configs import v1_audio_base, v1_image_base, v1_text_base
from d2v_jax.interop.fairseq.original import mlp_ratio
from d2v_jax.interop.huggingface import hf_speech
from d2v_jax.interop.sections import Section, brief

SYSTEMS = {
    "data2vec-audio": "v1_audio",
    "data2vec-vision": "v1_image",
    "data2vec-text": "v1_text",
}
RECIPES = {"v1_audio": v1_audio_base, "v1_image": v1_image_base, "v1_text": v1_text_base}
PREPROCESSED = 0.5  # mean and std of pixels in the released preprocessors (REFERENCE T27)

# Fields whose other values our encoders cannot represent. No published model uses them.
AUDIO_ONLY = {
    "hidden_act": "gelu",
    "feat_extract_activation": "gelu",
    "conv_bias": False,
    "add_adapter": False,
}
IMAGE_ONLY = {"hidden_act": "gelu", "use_absolute_position_embeddings": False}
TEXT_ONLY = {
    "hidden_act": "gelu",
    "is_decoder": False,
    "add_cross_attention": False,
    "position_embedding_type": "absolute",
}

log = logging.getLogger("d2v")


def system_of(config: Mapping[str, Any]) -> str:
    """Our name of the system a config.json describes."""
    kind = config.get("model_type")
    if isinstance(kind, str) and kind in SYSTEMS:
        return SYSTEMS[kind]
    if config.get("format") == "d2v_jax":
        raise UserError("config.json is of a folder of d2v_jax, not of Hugging Face")
    raise UserError(
        f"config.json has model_type={brief(kind)}; only data2vec models can be read: "
        f"{', '.join(SYSTEMS)}; and of its siblings wav2vec2, hubert, bert, roberta, vit_mae"
    )


def read_config(
    system: str, hf: Mapping[str, Any], preprocessor: Mapping[str, Any] | None
) -> dict[str, Any]:
    """The fields of configs/{audio,image,text}.py as a nested dict.

    `preprocessor`: the content of preprocessor_config.json, None without one. Raises UserError
    for a field we cannot represent.
    """
    section = Section("config.json", hf)
    config = RECIPES[system].get_config().to_dict()
    config["recipe"] = f"huggingface_{system}"
    width = section.integer("hidden_size", 1, 2**16, 768)
    heads = section.integer("num_attention_heads", 1, width, 12)
    if width % heads:
        raise UserError(f"config.json: hidden_size={width} is no multiple of {heads} heads")
    depth = section.integer("num_hidden_layers", 1, 1000, 12)
    mlp = section.integer("intermediate_size", 1, 2**20, 3072)
    stored = hf.get("dtype", hf.get("torch_dtype"))
    config["trunk"] |= {
        "width": width,
        "heads": heads,
        "depth": depth,
        "mlp_ratio": mlp_ratio(width, mlp),
        "dtype": "bfloat16" if stored in ("float16", "bfloat16") else "float32",
    }
    top = min(depth, len(config["targets"]["blocks"]))
    config["targets"]["blocks"] = tuple(range(depth - top, depth))
    match system:
        case "v1_audio":
            _audio(config, section)
        case "v1_image":
            _image(config, section, preprocessor)
        case _:
            _text(config, section)
    return config


def _audio(config: dict[str, Any], hf: Section) -> None:
    hf.only(AUDIO_ONLY)
    groups = hf_speech.groups(hf, config["trunk"]["width"])
    kernel = hf.integer("conv_pos_kernel_size", 1, 1000, 19)
    eps = float(hf.number("layer_norm_eps", 0, 1, 1e-5))
    config["frontend"] |= {
        "conv_layers": hf_speech.waves(hf),
        "norm_eps": eps,
    }
    config["positions"] |= {
        "conv_layers": hf.integer("num_conv_pos_embeddings", 0, 100, 5),
        "conv_kernel": kernel,
        "conv_groups": groups,
        "zero_padding": "input",
    }
    dropout = float(hf.number("hidden_dropout", 0, 1, 0.1))
    config["trunk"] |= {
        "norm_eps": eps,
        "input_dropout": dropout,
        "dropout": dropout,
        "attention_dropout": float(hf.number("attention_dropout", 0, 1, 0.1)),
        "layer_drop": float(hf.number("layerdrop", 0, 1, 0.1)),
    }


def _text(config: dict[str, Any], hf: Section) -> None:
    hf.only(TEXT_ONLY)
    pad = hf.integer("pad_token_id", 0, 2**30, 1)
    vocabulary = hf.integer("vocab_size", pad + 1, 2**30, 30522)
    places = hf.integer("max_position_embeddings", pad + 2, 2**30, 512)
    eps = float(hf.number("layer_norm_eps", 0, 1, 1e-12))
    dropout = float(hf.number("hidden_dropout_prob", 0, 1, 0.1))
    config["data"]["tokens"] = places - pad - 1
    config["frontend"] |= {
        "vocab_size": vocabulary,
        "max_tokens": places - pad - 1,
        "pad_id": pad,
        "mask_id": vocabulary - 1,  # `<mask>` is last in the vocabularies of fairseq
        "norm_eps": eps,
        "dropout": dropout,
    }
    config["positions"]["zero_padding"] = "never"
    config["decoder"]["hidden"] = (2 * config["trunk"]["width"],)
    config["trunk"] |= {
        "norm_eps": eps,
        "dropout": dropout,
        "attention_dropout": float(hf.number("attention_probs_dropout_prob", 0, 1, 0.1)),
    }


def _image(config: dict[str, Any], hf: Section, preprocessor: Mapping[str, Any] | None) -> None:
    hf.only(IMAGE_ONLY)
    size, patch = _side(hf, "image_size", 224), _side(hf, "patch_size", 16)
    if size < patch:
        raise UserError(f"config.json: image_size={size} is less than patch_size={patch}")
    shared = hf.flag("use_shared_relative_position_bias")
    each = hf.flag("use_relative_position_bias")
    if shared and each:
        raise UserError(
            "config.json: use_shared_relative_position_bias and use_relative_position_bias are "
            "both on; our model has one or the other"
        )
    channels = hf.integer("num_channels", 1, 1000, 3)
    mean, std = pixels(preprocessor, size, *[(PREPROCESSED,) * channels] * 2)
    scale = float(hf.number("layer_scale_init_value", 0, 1e9, 0.1))
    config["data"] |= {"image_size": size, "channels": channels}
    config["frontend"] |= {"patch_size": patch, "normalize": "dataset", "mean": mean, "std": std}
    bias = "relative" if shared else "relative_per_block" if each else "none"
    config["positions"] |= {"bias": bias, "zero_padding": "never"}
    config["trunk"] |= {
        "prefix_tokens": 1,
        "output_norm": not hf.flag("use_mean_pooling", True),
        "norm_eps": float(hf.number("layer_norm_eps", 0, 1, 1e-12)),
        "layer_scale": scale or 1.0,  # without it branches count whole
        "dropout": float(hf.number("hidden_dropout_prob", 0, 1, 0.0)),
        "attention_dropout": float(hf.number("attention_probs_dropout_prob", 0, 1, 0.0)),
        "drop_path": float(hf.number("drop_path_rate", 0, 1, 0.1)),
    }
    config["loss"]["scale"] = 1 / config["trunk"]["width"]


def pixels(
    preprocessor: Mapping[str, Any] | None,
    image_size: int,
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """-> (mean, std) per channel of pixels in [0, 1]; those given where the files tell none."""
    if preprocessor is None:
        return mean, std
    section = Section("preprocessor_config.json", preprocessor)
    if not section.flag("do_normalize", True):
        return (0.0,) * len(mean), (1.0,) * len(std)
    cropped = section.flag("do_center_crop")
    size = preprocessor.get("crop_size" if cropped else "size")
    sides = set(size.values()) if isinstance(size, Mapping) else {size}
    if size is not None and sides != {image_size}:
        log.warning(
            "preprocessor_config.json prepares images of another size than image_size=%d of "
            "config.json, which is used",
            image_size,
        )
    return _numbers(section, "image_mean", mean), _numbers(section, "image_std", std)


def _side(hf: Section, field: str, default: int) -> int:
    """A whole number, or two equal ones."""
    value = hf.fields.get(field, default)
    if isinstance(value, list | tuple) and len(value) == 2 and value[0] == value[1]:
        value = value[0]
    if type(value) is not int or not 1 <= value <= 2**16:
        raise UserError(f"config.json.{field}={value!r}: our images and patches are square")
    return value


def _numbers(section: Section, field: str, default: Sequence[float]) -> tuple[float, ...]:
    value = section.fields.get(field, default)
    good = isinstance(value, list | tuple) and all(type(n) in (int, float) for n in value)
    if not good or len(value) != len(default):
        raise UserError(
            f"{section.name}.{field}={value!r} must be {len(default)} numbers, one per channel"
        )
    return tuple(float(n) for n in value)
