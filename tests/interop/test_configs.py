"""Their configurations become our recipe fields, or are refused by field and value."""

from types import SimpleNamespace

import numpy as np
import pytest
from cases import SYSTEMS, checkpoint, imported, load, student, teacher

from d2v_jax.common.checks import UserError
from d2v_jax.interop.fairseq import original, v1_config, v2_config
from d2v_jax.train.recipe.resolve import resolve

WAVE = ((24, 10, 5), *((24, 3, 2),) * 4, (24, 2, 2), (24, 2, 2))
NO_DROPOUT = {
    "input_dropout": 0.0,
    "dropout": 0.0,
    "attention_dropout": 0.0,
    "drop_path": 0.0,
    "layer_drop": 0.0,
}
SHORT_DECAY = {"decay_start": 0.9, "decay_end": 0.99, "decay_steps": 10}
NORMS = {"v1_audio": "instance", "v1_text": "layer", "v1_vision": "layer"}

# What the golden files say, beside what is the same in all of them.
FIELDS = {
    "v1_audio": {
        "frontend": {"conv_layers": WAVE, "norm_eps": 1e-5},
        "positions": {
            "add": "conv",
            "bias": "none",
            "conv_layers": 5,
            "conv_kernel": 19,
            "conv_groups": 8,
            "zero_padding": "input",
        },
        "trunk": {
            "width": 32,
            "heads": 4,
            "prenet_depth": 0,
            "block": "post_norm",
            "input_norm": True,
            "output_norm": False,
            "norm_eps": 1e-5,
            "prefix_tokens": 0,
            "init": "bert",
        },
        "mask": {
            "hide": "replace",
            "kind": "spans",
            "share": 0.65,
            "adjust": 0.0,
            "block": 10,
            "neighbours": 12,
            "views": 1,
        },
        "decoder": {"layers": 0, "hidden": (), "init": "torch"},
        "targets": {"blocks": (1, 2), "site": "ffn", "final_norms": ()},
        "loss": {"beta": 0.0, "scale": None, "cls_weight": 0.0},
        "teacher": {"sees": "tokens", "owns": ("prenet", "trunk")},
    },
    "v1_text": {
        "data": {"tokens": 48, "blocks": "documents"},
        "frontend": {
            "vocab_size": 99,
            "max_tokens": 48,
            "pad_id": 1,
            "mask_id": 98,
            "dropout": 0.0,
        },
        "positions": {"add": "none", "bias": "none", "zero_padding": "input"},
        "trunk": {
            "width": 32,
            "heads": 4,
            "prenet_depth": 0,
            "block": "post_norm",
            "input_norm": False,
            "output_norm": False,
            "init": "bert",
        },
        "mask": {"hide": "input", "kind": "clipped_spans", "share": 0.35, "block": 4, "views": 1},
        "decoder": {"layers": 0, "hidden": (64,), "init": "bert"},
        "targets": {"blocks": (1, 2), "site": "ffn", "final_norms": ()},
        "loss": {"beta": 4.0, "scale": 1.0, "cls_weight": 0.0},
        "teacher": {"sees": "inputs", "owns": ("trunk",)},
    },
    "v1_vision": {
        "data": {"image_size": 64, "channels": 3},
        "frontend": {"patch_size": 8, "mean": (0.485, 0.456, 0.406)},
        "positions": {"add": "none", "bias": "relative", "zero_padding": "never"},
        "trunk": {
            "width": 32,
            "heads": 4,
            "prenet_depth": 0,
            "block": "pre_norm",
            "input_norm": False,
            "output_norm": True,
            "norm_eps": 1e-6,
            "prefix_tokens": 1,
            "init": "beit",
            "layer_scale": 0.1,
            "dtype": "float32",
        },
        "mask": {"hide": "replace", "kind": "beit", "share": 38 / 64, "block": 5, "views": 1},
        "decoder": {"layers": 0, "hidden": (), "init": "beit"},
        "targets": {"blocks": (1, 2), "site": "block", "final_norms": ("layer",)},
        "loss": {"beta": 2.0, "scale": 1 / 32, "cls_weight": 0.0},
        "teacher": {
            "sees": "inputs",
            "owns": ("frontend", "positions", "mask", "prefix", "trunk", "decoder"),
        },
    },
    "v2_audio": {
        "frontend": {"conv_layers": WAVE},
        "positions": {
            "add": "conv",
            "bias": "alibi",
            "conv_layers": 5,
            "conv_kernel": 19,
            "conv_groups": 6,
            "zero_padding": "never",
        },
        "trunk": {
            "width": 36,
            "heads": 6,
            "prenet_depth": 0,
            "input_norm": True,
            "output_norm": False,
            "norm_eps": 1e-5,
            "prefix_tokens": 0,
        },
        "mask": {
            "hide": "remove",
            "kind": "blocks",
            "share": 0.5,
            "adjust": 0.05,
            "block": 5,
            "views": 3,
        },
        "decoder": {
            "layers": 3,
            "width": 24,
            "kernel": 7,
            "groups": 4,
            "residual": True,
            "hidden": (),
            "init": "torch",
            "noise_std": 0.0,
        },
        "targets": {"blocks": (1, 2), "site": "ffn", "final_norms": ()},
        "loss": {"beta": 0.0, "scale": None, "cls_weight": 0.0},
        "teacher": {"sees": "tokens", "owns": ("positions", "prenet", "trunk")},
    },
    "v2_image": {
        "data": {"image_size": 64, "channels": 3},
        "frontend": {"patch_size": 8},
        "positions": {"add": "sincos", "bias": "none", "zero_padding": "never"},
        "trunk": {
            "width": 32,
            "heads": 4,
            "prenet_depth": 1,
            "input_norm": True,
            "norm_eps": 1e-6,
            "prefix_tokens": 1,
        },
        "mask": {
            "hide": "remove",
            "kind": "inverse_blocks",
            "share": 0.8,
            "adjust": 0.07,
            "block": 3,
            "views": 4,
        },
        "decoder": {"layers": 3, "width": 32, "kernel": 3, "groups": 4, "hidden": ()},
        "targets": {"blocks": (1, 2), "site": "ffn", "final_norms": ("layer",)},
        "loss": {"beta": 0.0, "scale": None, "cls_weight": 0.01 * 2 * 4},
        "teacher": {"sees": "inputs", "owns": ("frontend", "prefix", "prenet", "trunk")},
    },
    "v2_text": {
        "data": {"tokens": 48},
        "frontend": {"vocab_size": 99, "max_tokens": 48, "mask_id": 98, "dropout": 0.0},
        "positions": {"add": "none", "bias": "none", "zero_padding": "never"},
        "trunk": {
            "width": 32,
            "heads": 4,
            "prenet_depth": 0,
            "input_norm": False,
            "prefix_tokens": 0,
        },
        "mask": {
            "hide": "remove",
            "kind": "random",
            "share": 0.48,
            "adjust": 0.0,
            "block": 1,
            "views": 3,
        },
        "decoder": {
            "layers": 2,
            "width": 32,
            "kernel": 9,
            "groups": 1,
            "residual": False,
            "hidden": (64,),
            "init": "bert",
        },
        "targets": {"blocks": (0, 1, 2), "site": "ffn", "final_norms": ()},
        "loss": {"beta": 0.0, "scale": 1.0, "cls_weight": 0.0},
        "teacher": {"sees": "tokens", "owns": ("trunk",)},
    },
}


@pytest.mark.parametrize("case", SYSTEMS)
def test_fields(case):
    config = imported(case).config
    assert config["recipe"] == f"fairseq_{SYSTEMS[case][0]}"
    expected = {name: dict(fields) for name, fields in FIELDS[case].items()}
    expected["trunk"] |= {"depth": 3, "mlp_ratio": 4.0, "dtype": "float32", **NO_DROPOUT}
    expected["targets"]["layer_norms"] = (NORMS.get(case, "instance"),)
    expected["teacher"] |= SHORT_DECAY
    for section, fields in expected.items():
        assert {name: config[section][name] for name in fields} == fields, section
    resolve(config)


# --- other values ----------------------------------------------------------------------------


def sections(case, content):
    """The groups of fields of a fairseq file by short names."""
    cfg = content["cfg"]
    model = cfg["model"]
    found = {"cfg": cfg, "model": model, "task": cfg["task"]}
    if case == "v1_text":
        found |= {"stack": model["transformer"], "encoder": model["transformer"]["encoder"]}
    if case.startswith("v2"):
        found["modality"] = model["modalities"][case[3:]]
        found["decoder"] = found["modality"]["decoder"]
    return found


def config_of(case, content):
    """The fields alone, whatever the weights."""
    state = content["model"]
    system, _ = SYSTEMS[case]
    source = original.Original(
        system,
        student(content),
        teacher(case, content) if "_ema" in state else None,
        {},
        None,
        "",
        "",
        original.Section("cfg", content["cfg"]),
    )
    match case:
        case "v1_audio":
            return v1_config.audio(source)
        case "v1_text":
            return v1_config.text(source)
    return v2_config.config(source)


def changed(case, **groups):
    """The fields of a golden file with some of its own changed."""
    content = checkpoint(case)
    for where, fields in groups.items():
        sections(case, content)[where].update(fields)
    config = config_of(case, content)
    resolve(config)
    return SimpleNamespace(
        **{k: SimpleNamespace(**v) if isinstance(v, dict) else v for k, v in config.items()}
    )


@pytest.mark.parametrize("case", ["v1_audio", "v1_text", "v2_audio", "v2_image"])
def test_targets_and_loss(case):
    got = changed(
        case,
        model={
            "layer_norm_target_layer": True,
            "instance_norm_target_layer": True,
            "layer_norm_targets": True,
            "instance_norm_targets": True,
            "loss_scale": 0.5,
            "loss_beta": 2,
            "average_top_k_layers": 3,
        },
    )
    assert got.targets.layer_norms == ("instance", "layer")
    assert got.targets.final_norms == ("layer", "instance")
    assert got.targets.blocks == (0, 1, 2)
    assert (got.loss.beta, got.loss.scale) == (2.0, 0.5)


@pytest.mark.parametrize("case", ["v1_audio", "v1_text", "v2_audio", "v2_text"])
def test_precision(case):
    assert changed(case, cfg={"common": {"fp16": True}}).trunk.dtype == "bfloat16"
    assert changed(case, cfg={"common": {"bf16": True, "fp16": False}}).trunk.dtype == "bfloat16"
    assert changed(case, cfg={"common": {"seed": 1}}).trunk.dtype == "bfloat16"  # our default


def test_v1_audio_values():
    got = changed(
        "v1_audio",
        model={
            "dropout": 0.1,
            "attention_dropout": 0.2,
            "encoder_layerdrop": 0.05,
            "mask_prob": 0.5,
            "mask_length": 4,
            "require_same_masks": False,
            "ema_layers_only": False,
            "conv_pos": 10,
            "encoder_ffn_embed_dim": 100,
        },
    )
    assert got.trunk.input_dropout == got.trunk.dropout == 0.1
    assert got.trunk.attention_dropout == 0.2
    assert got.trunk.layer_drop == 0.05 and int(32 * got.trunk.mlp_ratio) == 100
    assert (got.mask.share, got.mask.block, got.mask.neighbours) == (0.5, 4, 1)
    assert got.teacher.owns == ("positions", "prenet", "trunk")
    assert got.positions.conv_kernel == 3  # never shorter


def test_v1_text_values():
    got = changed(
        "v1_text",
        model={"head_layers": 3, "loss_scale": -1.0, "ema_transformer_layers_only": False},
        stack={"dropout": 0.1, "attention_dropout": 0.2},
        encoder={"layerdrop": 0.05},
        task={"mask_prob": 0.2, "mask_multiple_length": 2, "tokens_per_sample": 32},
    )
    assert got.decoder.hidden == (64, 64) and got.loss.scale is None
    assert got.teacher.owns == ("frontend", "trunk") and got.data.tokens == 32
    assert (got.frontend.dropout, got.trunk.dropout) == (0.1, 0.1)
    assert (got.trunk.attention_dropout, got.trunk.layer_drop) == (0.2, 0.05)
    assert (got.mask.share, got.mask.block) == (0.2, 2)
    assert changed("v1_text", model={"head_layers": 1}).decoder.hidden == ()


def test_v2_values():
    got = changed(
        "v2_audio",
        model={
            "encoder_dropout": 0.1,
            "post_mlp_drop": 0.1,
            "attention_dropout": 0.2,
            "layerdrop": 0.05,
            "end_of_block_targets": True,
            "end_drop_path_rate": 0.3,
        },
        modality={
            "prenet_dropout": 0.4,
            "num_extra_tokens": 2,
            "mask_length": 1,
            "conv_pos_width": 40,
            "use_alibi_encoder": False,
            "ema_local_encoder": True,
        },
        decoder={
            "decoder_kernel": 4,
            "projection_layers": 3,
            "projection_ratio": 1.5,
            "input_dropout": 0.1,
        },
    )
    assert (got.trunk.dropout, got.trunk.attention_dropout) == (0.1, 0.2)
    assert got.trunk.layer_drop == 0.05
    assert (got.positions.conv_kernel, got.decoder.kernel) == (8, 4)
    assert (got.trunk.input_dropout, got.trunk.drop_path) == (0.4, 0.3)
    assert got.trunk.prefix_tokens == 2 and got.mask.kind == "random"
    assert got.positions.bias == "none" and got.targets.site == "block"
    assert got.teacher.owns == ("frontend", "positions", "prefix", "prenet", "trunk")
    assert got.teacher.sees == "inputs" and got.decoder.hidden == (36, 36)
    assert got.decoder.input_dropout == 0.1


def test_v2_cls_term_of_speech():
    got = changed("v2_audio", model={"cls_loss": 0.02}, modality={"num_extra_tokens": 1})
    assert got.loss.cls_weight == pytest.approx(0.02 * 16 * 3)


def test_v2_teachers():
    got = changed("v2_image", model={"ema_encoder_only": True})
    assert (got.teacher.owns, got.teacher.sees) == (("trunk",), "tokens")
    got = changed("v2_image", modality={"ema_local_encoder": False})
    assert (got.teacher.owns, got.teacher.sees) == (("prefix", "prenet", "trunk"), "tokens")
    got = changed("v2_text", model={"ema_encoder_only": False}, modality={"prenet_depth": 2})
    assert got.teacher.owns == ("prenet", "trunk") and got.trunk.input_norm
    assert changed("v2_image", modality={"mask_length": 1}).mask.kind == "random"
    # The original's 2-D decoder knows no further maps.
    assert changed("v2_image", decoder={"projection_layers": 2}).decoder.hidden == ()


@pytest.mark.parametrize("batch, views", [(None, 16 * 4), (8, 8 * 4)])
def test_cls_weight_of_the_batch_per_device(batch, views):
    got = changed("v2_image", cfg={"dataset": {"batch_size": batch}})
    assert got.loss.cls_weight == pytest.approx(0.01 * views)


@pytest.mark.parametrize("images", [0, -1, 2.5, True])
def test_a_batch_per_device_that_is_none(tmp_path, images):
    with pytest.raises(UserError, match=f"images_per_device={images} must be"):
        load(tmp_path, checkpoint("v2_image"), images_per_device=images)


# --- refusals --------------------------------------------------------------------------------

ONLY = [
    ("v1_audio", "model", v1_config.AUDIO_ONLY),
    ("v1_audio", "model", v1_config.AUDIO_TRAINING_ONLY),
    ("v1_text", "stack", v1_config.TEXT_ONLY),
    ("v1_text", "stack", {"activation_dropout": 0}),
    ("v1_text", "encoder", v1_config.ENCODER_ONLY),
    ("v1_text", "task", v1_config.TASK_ONLY),
    ("v1_text", "model", {"batch_norm_target_layer": False}),
    ("v2_image", "modality", v2_config.PRENET_ONLY),
    (
        "v2_audio",
        "modality",
        {"learned_alibi_scale_per_head": True, "learned_alibi_scale": True, "num_alibi_heads": 6},
    ),
    *[
        (f"v2_{kind}", where, fields)
        for kind in ("audio", "image", "text")
        for where, fields in (
            ("model", v2_config.MODEL_ONLY),
            ("modality", v2_config.MODALITY_ONLY),
            ("modality", v2_config.KIND_ONLY[kind]),
            ("decoder", v2_config.DECODER_ONLY),
            ("model", v2_config.TRAINING_ONLY),
            ("modality", v2_config.MODALITY_TRAINING_ONLY),
            ("modality", v2_config.KIND_TRAINING_ONLY[kind]),
        )
    ],
]
EVERY = [
    (case, where, name, value) for case, where, fields in ONLY for name, value in fields.items()
]


@pytest.mark.parametrize("case, where, field, known", EVERY)
def test_what_we_cannot_represent_is_named(case, where, field, known):
    content = checkpoint(case)
    other = (not known) if isinstance(known, bool) else 7
    sections(case, content)[where][field] = other
    with pytest.raises(UserError, match=rf"\.{field}={other}: our model only knows {known!r}"):
        config_of(case, content)


@pytest.mark.parametrize(
    "case, where, field, value, words",
    [
        ("v2_image", "model", "embed_dim", None, "embed_dim=None must be a number"),
        ("v2_image", "model", "embed_dim", "32", "embed_dim='32' must be a number"),
        ("v2_image", "model", "embed_dim", 48, r"modalities\.image\.embed_dim=32"),
        ("v2_text", "model", "depth", 10**9, "depth=1000000000 must be a number from 1 to 1000"),
        ("v2_audio", "model", "depth", 2.5, "depth=2.5 must be a whole number"),
        ("v2_audio", "model", "depth", True, "depth=True must be a number"),
        ("v2_text", "model", "norm_eps", float("nan"), "norm_eps=nan"),
        ("v2_text", "model", "layer_norm_targets", "yes", "targets='yes' must be true or false"),
        ("v2_audio", "modality", "mask_prob", [], "mask_prob=a list"),
        ("v2_image", "modality", "decoder", None, "decoder should be a group .* but is None"),
        ("v2_image", "decoder", "decoder_dim", -1, "decoder_dim=-1"),
        ("v2_audio", "modality", "feature_encoder_spec", 5, "feature_encoder_spec=5 must be text"),
        ("v2_audio", "modality", "feature_encoder_spec", "open('x')", "must look like"),
        ("v2_audio", "model", "average_top_k_layers", 4, "a number from 1 to 3"),
        ("v2_audio", "model", "post_mlp_drop", 0.5, "encoder_dropout=0.0 and .*post_mlp_drop=0.5"),
        ("v1_audio", "model", "pos_conv_depth", 1, "a single weight-normed position convolution"),
        (
            "v1_audio",
            "model",
            "conv_feature_layers",
            "[(2, 3)]",
            "conv_feature_layers='.*look like",
        ),
        ("v1_audio", "model", "encoder_embed_dim", None, "encoder_embed_dim=None must be"),
        ("v1_text", "stack", "encoder", None, r"transformer\.encoder should be a group"),
        ("v1_text", "encoder", "attention_heads", None, "attention_heads=None must be a number"),
        ("v1_text", "model", "loss_beta", "4", "loss_beta='4' must be a number"),
    ],
)
def test_broken_fields_are_named(case, where, field, value, words):
    content = checkpoint(case)
    sections(case, content)[where][field] = value
    with pytest.raises(UserError, match=words):
        config_of(case, content)


def test_a_norm_over_the_batch_is_refused():
    content = checkpoint("v1_audio")
    content["cfg"]["model"] |= {
        "instance_norm_target_layer": False,
        "instance_norm_targets": True,
    }
    with pytest.raises(UserError, match="instance_norm_target_layer=False"):
        config_of("v1_audio", content)


def test_sizes_that_only_the_weights_tell(tmp_path):
    for case, key in (
        ("v1_text", "encoder.sentence_encoder.embed_tokens.weight"),
        ("v2_text", "modality_encoders.TEXT.local_encoder.embed_tokens.weight"),
        ("v1_vision", "blocks.0.mlp.fc1.weight"),
    ):
        content = checkpoint(case)
        del content["model"][key]
        with pytest.raises(UserError, match=f"{key} is missing; the size of the model"):
            load(tmp_path, content)
        content["model"][key] = np.zeros((4, 0), np.float32)
        with pytest.raises(UserError, match=rf"{key} has shape \(4, 0\)"):
            load(tmp_path, content)


def test_plain_fields_may_lie_in_one_group(tmp_path):
    """Files of old fairseq hold `args`, all fields side by side, and no `cfg`."""
    content = checkpoint("v1_audio")
    content["args"] = content["cfg"]["model"] | {"fp16": True}
    content["cfg"] = None
    got = load(tmp_path, content)
    assert got.config["trunk"]["width"] == 32 and got.config["trunk"]["dtype"] == "bfloat16"
