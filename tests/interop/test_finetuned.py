"""Fine-tuned files: the encoder without what only pre-training needs, and the head."""

import argparse

import numpy as np
import pytest
from cases import SYSTEMS, checkpoint, imported, load, same, student

from d2v_jax.common.checks import UserError
from d2v_jax.interop import keymap
from d2v_jax.train.recipe.resolve import resolve

RANDOM = np.random.default_rng(0)
CTC, INSIDE, TASK = "w2v_encoder.w2v_model.", "model.", "classification_heads.sst."


def linear(name, width_in, width_out):
    """A layer as they write it."""
    draw = lambda *shape: RANDOM.normal(size=shape).astype(np.float32)
    return {f"{name}.weight": draw(width_out, width_in), f"{name}.bias": draw(width_out)}


def encoder(content, *gone):
    """The student's arrays but those whose names start with `gone`."""
    return {k: v for k, v in student(content).items() if not k.startswith(gone)}


def prefixed(prefix, flat):
    return {prefix + key: value for key, value in flat.items()}


def ctc(case):
    content = checkpoint(case)
    gone = ("final_proj", "modality_encoders.AUDIO.decoder")
    width = 32 if case == "v1_audio" else 36
    inner = content["cfg"]
    overrides = {
        "dropout": 0.3,
        "activation_dropout": 0.1,
        "feature_grad_mult": 0.0,
        "mask_channel_prob": 0.25,
        "mask_prob": 0.9,
        "mask_dropout": 0.2,
    }
    inner["model"] |= overrides | {"layerdrop": 0.2, "post_mlp_drop": 0.3}
    if case == "v2_audio":
        inner["model"]["modalities"]["audio"] |= {
            "encoder_zero_mask": False,
            "local_grad_mult": 0.0,
            "learned_alibi_scale": False,
            "mask_channel_prob": 0.25,
            "prenet_layerdrop": 0.1,
        }
    return {
        "cfg": {"model": {"_name": "wav2vec_ctc", "w2v_args": inner}, "common": {"fp16": True}},
        "model": prefixed(CTC, encoder(content, *gone)) | linear("w2v_encoder.proj", width, 5),
        "task_state": {
            "target_dictionary": argparse.Namespace(symbols=["<s>", "|", "E", "T", "A"])
        },
    }


def image_v2():
    content = checkpoint("v2_image")
    content["cfg"]["model"] |= {"start_drop_path_rate": 0.05, "end_drop_path_rate": 0.1}
    return {
        "cfg": {
            "model": {
                "_name": "mae_image_classification",
                "pretrained_model_args": content["cfg"],
                "prediction_mode": "MEAN_POOLING",
                "use_fc_norm": True,
            }
        },
        "model": prefixed(INSIDE, encoder(content, "modality_encoders.IMAGE.decoder"))
        | {"fc_norm.weight": np.full(32, 2, np.float32), "fc_norm.bias": np.ones(32, np.float32)}
        | linear("head", 32, 7),
    }


def image_v1(each=False):
    """As DeepSpeed writes them: no arguments."""
    flat = encoder(checkpoint("v1_vision"), "mask_token", "norm.", "lm_head.")
    if each:
        table = flat.pop("rel_pos_bias.relative_position_bias_table")
        index = flat.pop("rel_pos_bias.relative_position_index")
        for i in range(3):
            flat[f"blocks.{i}.attn.relative_position_bias_table"] = table + i
            flat[f"blocks.{i}.attn.relative_position_index"] = index
    flat |= {"fc_norm.weight": np.full(32, 2, np.float32), "fc_norm.bias": np.ones(32, np.float32)}
    return {"module": flat | linear("head", 32, 7), "global_steps": 3, "epoch": 1}


def text_v1():
    content = checkpoint("v1_text")
    sizes = content["cfg"]["model"]["transformer"]["encoder"]
    roberta = {"_name": "roberta", "activation_fn": "gelu", "dropout": 0.1, "max_positions": 48}
    roberta |= {
        f"encoder_{name}": sizes[name]
        for name in ("embed_dim", "ffn_embed_dim", "layers", "attention_heads", "normalize_before")
    }
    flat = encoder(content, "encoder.regression_head")
    flat |= linear("encoder.lm_head.dense", 32, 32) | linear("encoder.lm_head.layer_norm", 1, 32)
    return {
        "cfg": {"model": argparse.Namespace(**roberta), "task": {"_name": "sentence_prediction"}},
        "model": flat | linear(f"{TASK}dense", 32, 32) | linear(f"{TASK}out_proj", 32, 3),
    }


def text_v2():
    content = checkpoint("v2_text")
    flat = prefixed(INSIDE, encoder(content, "modality_encoders.TEXT.decoder"))
    return {
        "cfg": {"model": {"pretrained_model_args": content["cfg"], "pooler_activation_fn": "tanh"}},
        "model": flat | linear(f"{TASK}dense", 32, 32) | linear(f"{TASK}out_proj", 32, 3),
    }


FILES = {
    "v1_audio": lambda: ctc("v1_audio"),
    "v2_audio": lambda: ctc("v2_audio"),
    "v2_image": image_v2,
    "v1_vision": image_v1,
    "v1_text": text_v1,
    "v2_text": text_v2,
}
GONE = {"v1_vision": ("mask", "decoder")}
EVERY = pytest.mark.parametrize("case", FILES)


@EVERY
def test_the_encoder_is_that_of_pretraining(tmp_path, case):
    got, exact = load(tmp_path, FILES[case]()), imported(case)
    student = dict(exact.student)
    for part in GONE.get(case, ("decoder",)):
        del student[part]
    if case == "v1_vision":
        student["trunk"] = {k: v for k, v in student["trunk"].items() if k != "norm"}
    same(got.student, student)
    assert got.system == SYSTEMS[case][0] and got.teacher is None and got.copies == {}
    resolve(got.config)
    same(got.convert_student(keymap.invert(got.student, got.layout.student)), student)


@EVERY
def test_the_head(tmp_path, case):
    content = FILES[case]()
    got = load(tmp_path, content)
    flat = content.get("model", content.get("module"))
    params = got.head["params"]
    match case.split("_")[1]:
        case "audio":
            assert got.head["kind"] == "ctc" and list(params) == ["out"]
            assert got.head["labels"] == ("<s>", "|", "E", "T", "A")
            assert params["out"]["kernel"][3, 4] == flat["w2v_encoder.proj.weight"][4, 3]
        case "image" | "vision":
            assert got.head["kind"] == "image_classes" and got.head["norm_eps"] == 1e-6
            assert params["norm"]["scale"][0] == 2 and params["norm"]["bias"][0] == 1
            assert params["out"]["kernel"][3, 6] == flat["head.weight"][6, 3]
        case "text":
            assert got.head["kind"] == "text_classes" and got.head["name"] == "sst"
            assert params["dense"]["kernel"][3, 4] == flat[f"{TASK}dense.weight"][4, 3]
            assert params["out"]["bias"][2] == flat[f"{TASK}out_proj.bias"][2]
    rows = [row for row in got.report if row[0].startswith("head/")]
    assert len(rows) == sum(len(layer) for layer in params.values())


@EVERY
def test_the_report_names_keys_as_in_the_file(tmp_path, case):
    content = FILES[case]()
    got = load(tmp_path, content)
    flat = content.get("model", content.get("module"))
    keys = {key for _, row, _ in got.report for key in row.split(" + ")}
    rest = {k for k in flat if "lm_head" not in k and not k.endswith("relative_position_index")}
    assert keys == {k for k in rest if not k.endswith(("version", "encoder.positions"))}


def test_what_fine_tuning_overwrote_is_not_taken(tmp_path):
    for case in ("v1_audio", "v2_audio", "v2_image"):
        got, base = load(tmp_path, FILES[case]()).config, imported(case).config
        assert got["mask"]["kind"] == base["mask"]["kind"] and got["mask"]["share"] < 0.9
        assert got["trunk"]["dropout"] in (0.0, 0.1) and got["trunk"]["drop_path"] == 0
        assert got["trunk"]["dtype"] == "float32"  # of pre-training
        for field in ("width", "heads", "depth", "norm_eps"):
            assert got["trunk"][field] == base["trunk"][field]


def test_a_table_for_every_block(tmp_path):
    got = load(tmp_path, image_v1(each=True))
    assert got.config["positions"]["bias"] == "relative_per_block"
    table = imported("v1_vision").student["positions"]["relative"]["table"]
    mine = got.student["trunk"]["block_02"]["attention"]["relative"]["table"]
    np.testing.assert_array_equal(mine, table + 2)
    resolve(got.config)


def test_vision_without_deepspeed(tmp_path):
    content = {"model": image_v1()["module"]}
    content["args"] = argparse.Namespace(drop_path=0.2, imagenet_default_mean_and_std=True)
    got = load(tmp_path, content)
    assert got.head["kind"] == "image_classes" and not got.config["trunk"]["output_norm"]
    assert got.config["frontend"]["mean"] == (0.485, 0.456, 0.406)
    # Without the flag, the published commands scaled pixels to [-1, 1].
    assert load(tmp_path, image_v1()).config["frontend"]["mean"] == (0.5, 0.5, 0.5)


def test_vision_of_the_port(tmp_path):
    flat = {}
    for key, value in image_v1(each=True)["module"].items():
        for new, old in (
            ("cls_token", "cls_emb"),
            ("patch_embed.proj", "patch_embed.conv"),
            ("mlp.fc1", "mlp.0"),
            ("mlp.fc2", "mlp.2"),
            ("blocks.", "encoder.blocks."),
        ):
            key = key.replace(new, old)
        flat[key if key.startswith(("fc_norm", "head")) else f"model.{key}"] = value
    name = "data2vec_image_classification"
    got = load(tmp_path, {"model": flat, "cfg": {"model": {"_name": name}}})
    same(got.student, load(tmp_path, image_v1(each=True)).student)
    assert got.head["norm_eps"] == 1e-5


def test_text_that_keeps_its_regression_head(tmp_path):
    content = checkpoint("v1_text")
    content["model"] = student(content) | linear(f"{TASK}dense", 32, 8)
    content["model"] |= linear(f"{TASK}out_proj", 8, 3)
    got = load(tmp_path, content)
    same(got.student, imported("v1_text").student)
    assert got.head["params"]["dense"]["kernel"].shape == (32, 8)


def test_sounds_with_labels(tmp_path):
    content = ctc("v1_audio")
    content["cfg"]["model"]["_name"] = "audio_classification"
    assert load(tmp_path, content).head["kind"] == "audio_classes"


def test_letters_that_do_not_fit_are_left_out(tmp_path):
    for symbols in (["a"], None, [1, 2, 3, 4, 5]):
        content = ctc("v1_audio")
        content["task_state"] = {"target_dictionary": {"symbols": symbols}}
        assert load(tmp_path, content).head["labels"] is None


def test_arguments_inside_arguments(tmp_path):
    """Old files keep both configurations as namespaces."""
    content = ctc("v1_audio")
    inner = content["cfg"]["model"]["w2v_args"]["model"]
    content["args"] = argparse.Namespace(w2v_args=argparse.Namespace(**inner))
    content["cfg"] = None
    same(load(tmp_path, content).student, load(tmp_path, ctc("v1_audio")).student)


# --- refusals --------------------------------------------------------------------------------


@EVERY
def test_spoilt_encoders_are_named_as_in_the_file(tmp_path, case):
    content = FILES[case]()
    flat = content.get("model", content.get("module"))
    key = next(k for k in flat if k.endswith(("1.attn.proj.weight", "1.self_attn.q_proj.weight")))
    del flat[key]
    with pytest.raises(UserError, match=f"the student does not .*\n  1 missing: {key}$"):
        load(tmp_path, content)


@pytest.mark.parametrize(
    "case, change, words",
    [
        ("v1_audio", lambda f: f.pop("w2v_encoder.proj.bias"), "1 missing: w2v_enc"),
        ("v1_audio", lambda f: f.pop("w2v_encoder.proj.weight"), "proj.weight is missing;"),
        ("v1_audio", lambda f: f.update(x=np.ones(2, np.float32)), "head .*\n  1 left over: x"),
        ("v2_image", lambda f: f.pop("fc_norm.bias"), "1 missing: fc_norm.bias"),
        ("v1_vision", lambda f: f.update({"norm.weight": f["fc_norm.weight"]}), "missing: norm.b"),
        (
            "v1_text",
            lambda f: f.update(linear("classification_heads.b.dense", 2, 2)),
            r"2 classification heads \(b, sst\)",
        ),
        (
            "v2_text",
            lambda f: f.update({f"{TASK}dense.weight": np.ones((8, 8), np.float32)}),
            r"dense.weight is \(8, 8\), expected \(8, 32\)",
        ),
        (
            "v2_text",
            lambda f: f.update({f"{TASK}dense.bias": np.full(32, np.nan, np.float32)}),
            r"head .*not finite \(NaN or infinite\): classification_heads.sst.dense.bias",
        ),
    ],
)
def test_broken_heads(tmp_path, case, change, words):
    content = FILES[case]()
    change(content.get("model", content.get("module")))
    with pytest.raises(UserError, match=f"(?s){words}"):
        load(tmp_path, content)


@pytest.mark.parametrize(
    "case, path, value, words",
    [
        (
            "v1_audio",
            ("model", "w2v_args"),
            None,
            r"cfg\.model\.w2v_args should be a group .* None",
        ),
        (
            "v2_audio",
            ("model", "w2v_args", "model", "layer_norm_first"),
            True,
            r"cfg\.model\.w2v_args\.model\.layer_norm_first=True: our model only knows",
        ),
        ("v2_text", ("model", "pretrained_model_args"), "x", "pretrained_model_args should be"),
        ("v2_text", ("model", "pooler_activation_fn"), "relu", "pooler_activation_fn='relu': our"),
        ("v2_image", ("model", "prediction_mode"), "CLS_TOKEN", "prediction_mode='CLS_TOKEN': our"),
        ("v2_image", ("model", "use_fc_norm"), False, "use_fc_norm=False: our"),
    ],
)
def test_configurations_we_cannot_follow(tmp_path, case, path, value, words):
    content = FILES[case]()
    *parents, last = path
    section = content["cfg"]
    for name in parents:
        section = section[name]
    section[last] = value
    with pytest.raises(UserError, match=words):
        load(tmp_path, content)
