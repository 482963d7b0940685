"""Our recipe fields as the config.json and preprocessor_config.json of Hugging Face.

The inverse of `hf_config`. What their classes compute otherwise is refused by our field's name.
"""

import logging
from collections.abc import Mapping
from typing import Any

from d2v_jax.common.checks import UserError

log = logging.getLogger("d2v")

CLASSES = {
    ("v1_audio", None): "Data2VecAudioModel",
    ("v1_audio", "ctc"): "Data2VecAudioForCTC",
    ("v1_image", None): "Data2VecVisionModel",
    ("v1_image", "image_pooler"): "Data2VecVisionModel",
    ("v1_image", "image_classes"): "Data2VecVisionForImageClassification",
    ("v1_text", None): "Data2VecTextModel",
    ("v1_text", "text_pooler"): "Data2VecTextModel",
    ("v1_text", "text_classes"): "Data2VecTextForSequenceClassification",
}
# What every encoder of text of theirs is in our fields.
POST_NORM_TEXT = {
    "modality": "text",
    "positions.add": "none",
    "positions.bias": "none",
    "trunk.block": "post_norm",
    "trunk.input_norm": False,
    "trunk.output_norm": False,
    "trunk.prenet_depth": 0,
    "trunk.prefix_tokens": 0,
}
# What an encoder of theirs is in our fields; `trunk.output_norm` of images has two values.
FIXED = {
    "v1_audio": {
        "modality": "audio",
        "positions.add": "conv",
        "positions.bias": "none",
        "positions.zero_padding": "input",
        "trunk.block": "post_norm",
        "trunk.input_norm": True,
        "trunk.output_norm": False,
        "trunk.prenet_depth": 0,
        "trunk.prefix_tokens": 0,
    },
    "v1_image": {
        "modality": "image",
        "frontend.normalize": "dataset",
        "positions.add": "none",
        "trunk.block": "pre_norm",
        "trunk.input_norm": False,
        "trunk.prenet_depth": 0,
        "trunk.prefix_tokens": 1,
    },
    "v1_text": {**POST_NORM_TEXT, "frontend.positions": "learned"},
}
PADDED = "recordings alone sound the same to the Hugging Face class; those that it pads in a batch "
# What differs only between their padded batches and ours.
HARMLESS = {
    ("positions.zero_padding", "each_layer"): f"{PADDED}it hears otherwise (T16 of the reference)",
    ("frontend.padded_frames", "wholly"): f"{PADDED}may end a frame earlier",
}
BIASES = ("relative", "relative_per_block", "none")
SPECAUGMENT = 0.05  # their default share; any other than 0 makes their model keep the embedding


def check(system: str, config: Mapping[str, Any], head: Mapping[str, Any] | None) -> None:
    """Raises UserError naming the first field no class of theirs can express."""
    if system not in FIXED:
        raise UserError(
            f"there is no Hugging Face class for a {system} model (none for data2vec 2.0); "
            f"only {', '.join(FIXED)} can be written"
        )
    kind = None if head is None else head["kind"]
    if (system, kind) not in CLASSES:
        known = ", ".join(repr(k) for s, k in CLASSES if s == system and k)
        raise UserError(f"a {system} model has no head {kind!r}; known: {known}")
    fixed(config, FIXED[system])
    trunk, frontend = config["trunk"], config["frontend"]
    if system != "v1_image":
        only(config, "frontend.norm_eps", trunk["norm_eps"])
    else:
        if config["positions"]["bias"] not in BIASES:
            only(config, "positions.bias", " or ".join(BIASES))
        if head is not None:
            only(config, "trunk.output_norm", "norm" not in head["params"])
            if head.get("norm_eps", trunk["norm_eps"]) != trunk["norm_eps"]:
                raise UserError(
                    f"the head's norm_eps={head['norm_eps']!r}: the Hugging Face class uses "
                    f"trunk.norm_eps={trunk['norm_eps']!r} for it too"
                )
        for name in ("mean", "std"):
            if len(frontend[name]) != config["data"]["channels"]:
                only(config, f"frontend.{name}", f"{config['data']['channels']} numbers")


def _at(config: Mapping[str, Any], path: str) -> Any:
    section, _, name = path.rpartition(".")
    return (config[section] if section else config)[name]


def fixed(config: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """Raises UserError for a field of another value than their class has, but for HARMLESS ones."""
    for path, value in values.items():
        if (path, _at(config, path)) in HARMLESS:
            log.warning(HARMLESS[path, _at(config, path)])
        else:
            only(config, path, value)


def only(config: Mapping[str, Any], path: str, value: Any) -> None:
    """Raises UserError unless a field has this value."""
    got = _at(config, path)
    if got != value:
        raise UserError(
            f"{path}={got!r}: the Hugging Face class only knows {value!r}. Change the field if you "
            "accept that difference in their outputs"
        )


def config_json(
    system: str, config: Mapping[str, Any], head: Mapping[str, Any] | None, mask: bool
) -> dict[str, Any]:
    """The content of config.json; `mask`: whether there is a mask embedding."""
    shared = encoder(config)
    shared["architectures"] = [CLASSES[system, None if head is None else head["kind"]]]
    match system:
        case "v1_audio":
            shared |= _audio(config, head, mask)
        case "v1_image":
            shared |= _image(config, head, mask)
        case _:
            shared |= _text(config)
    return shared | (_labels(head) if head is not None and system != "v1_audio" else {})


def encoder(config: Mapping[str, Any]) -> dict[str, Any]:
    """What all their classes call the same."""
    trunk = config["trunk"]
    return {
        "dtype": "float32",
        "hidden_act": "gelu",
        "hidden_size": trunk["width"],
        "initializer_range": 0.02,
        "intermediate_size": int(trunk["width"] * trunk["mlp_ratio"]),
        "layer_norm_eps": trunk["norm_eps"],
        "num_attention_heads": trunk["heads"],
        "num_hidden_layers": trunk["depth"],
    }


def _audio(config: Mapping[str, Any], head: Mapping[str, Any] | None, mask: bool) -> dict[str, Any]:
    trunk, positions, layers = (
        config["trunk"],
        config["positions"],
        config["frontend"]["conv_layers"],
    )
    ctc = head is not None
    return {
        "model_type": "data2vec-audio",
        "activation_dropout": 0.0,
        "add_adapter": False,
        "attention_dropout": trunk["attention_dropout"],
        "bos_token_id": 1,
        "conv_bias": False,
        "conv_dim": [width for width, _, _ in layers],
        "conv_kernel": [kernel for _, kernel, _ in layers],
        "conv_pos_kernel_size": positions["conv_kernel"],
        "conv_stride": [stride for _, _, stride in layers],
        "ctc_loss_reduction": "mean" if ctc else "sum",
        "ctc_zero_infinity": ctc,
        "eos_token_id": 2,
        "feat_extract_activation": "gelu",
        "feat_proj_dropout": 0.0,
        "final_dropout": 0.0,
        "hidden_dropout": trunk["dropout"],
        "layerdrop": trunk["layer_drop"],
        "mask_feature_prob": 0.0,
        "mask_time_length": 10,
        "mask_time_prob": SPECAUGMENT if mask else 0.0,
        "num_conv_pos_embedding_groups": positions["conv_groups"],
        "num_conv_pos_embeddings": positions["conv_layers"],
        "num_feat_extract_layers": len(layers),
        "output_hidden_size": trunk["width"],
        "pad_token_id": head.get("blank", 0) if ctc else 0,
        "use_weighted_layer_sum": False,
        "vocab_size": len(head["params"]["out"]["bias"]) if ctc else 32,
    }


def _image(config: Mapping[str, Any], head: Mapping[str, Any] | None, mask: bool) -> dict[str, Any]:
    trunk = config["trunk"]
    return {
        "model_type": "data2vec-vision",
        "attention_probs_dropout_prob": trunk["attention_dropout"],
        "drop_path_rate": trunk["drop_path"],
        "hidden_dropout_prob": trunk["dropout"],
        "image_size": config["data"]["image_size"],
        "layer_scale_init_value": trunk["layer_scale"] or 1.0,  # 0 would drop their layer scale
        "num_channels": config["data"]["channels"],
        "patch_size": config["frontend"]["patch_size"],
        "use_absolute_position_embeddings": False,
        "use_mask_token": mask,
        "use_mean_pooling": not trunk["output_norm"],
        "use_relative_position_bias": config["positions"]["bias"] == "relative_per_block",
        "use_shared_relative_position_bias": config["positions"]["bias"] == "relative",
    }


def _text(config: Mapping[str, Any]) -> dict[str, Any]:
    trunk, frontend = config["trunk"], config["frontend"]
    return {
        "model_type": "data2vec-text",
        "add_cross_attention": False,
        "attention_probs_dropout_prob": trunk["attention_dropout"],
        "bos_token_id": 0,
        "classifier_dropout": None,
        "eos_token_id": 2,
        "hidden_dropout_prob": trunk["dropout"],
        "is_decoder": False,
        "max_position_embeddings": frontend["max_tokens"] + frontend["pad_id"] + 1,
        "pad_token_id": frontend["pad_id"],
        "type_vocab_size": 1,
        "use_cache": True,
        "vocab_size": frontend["vocab_size"],
    }


def _labels(head: Mapping[str, Any]) -> dict[str, Any]:
    if "out" not in head["params"]:
        return {}
    count = len(head["params"]["out"]["bias"])
    labels = head.get("labels") or tuple(f"LABEL_{i}" for i in range(count))
    if len(labels) != count:
        raise UserError(f"the head has {count} outputs, but {len(labels)} labels")
    return {
        "id2label": {str(i): name for i, name in enumerate(labels)},
        "label2id": {name: i for i, name in enumerate(labels)},
    }


def preprocessor_json(
    config: Mapping[str, Any], pictures: str = "BeitImageProcessor"
) -> dict[str, Any] | None:
    """The content of preprocessor_config.json; None for text, whose tokenizer is not a model's.

    `pictures`: the class that prepares images.
    """
    if config["modality"] == "audio":
        return {
            "do_normalize": True,
            "feature_extractor_type": "Wav2Vec2FeatureExtractor",
            "feature_size": 1,
            "padding_side": "right",
            "padding_value": 0.0,
            "return_attention_mask": True,
            "sampling_rate": 16_000,
        }
    if config["modality"] == "image":
        size = config["data"]["image_size"]
        return {
            "do_center_crop": False,
            "do_normalize": True,
            "do_rescale": True,
            "do_resize": True,
            "image_mean": list(config["frontend"]["mean"]),
            "image_processor_type": pictures,
            "image_std": list(config["frontend"]["std"]),
            "resample": 3,  # bicubic
            "rescale_factor": 1 / 255,
            "size": {"height": size, "width": size},
        }
    return None
