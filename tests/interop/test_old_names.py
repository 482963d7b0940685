"""Files of other days: older names of the same weights, and a port's."""

import argparse
import re

import numpy as np
import pytest
from cases import SYSTEMS, checkpoint, imported, load, same, shapes, student, teacher

from d2v_jax.common.checks import UserError

# Case -> (new, old) patterns over the student's and the teacher's names.
OLDER = {
    "v1_audio": [(r"^final_proj\.", "final_proj.0.")],
    "v1_text": [
        (r"^encoder\.", "decoder."),
        (r"layernorm_embedding\.", "emb_layer_norm."),
        (r"\.regression_head\.", ".lm_head."),
        (r"(layers\.\d)\.self_attn_layer_norm\.", r"\1.layer_norms.0."),
        (r"(layers\.\d)\.final_layer_norm\.", r"\1.layer_norms.1."),
    ],
    "v1_vision": [
        (r"^cls_token$", "cls_emb"),
        (r"^mask_token$", "mask_emb"),
        (r"^patch_embed\.proj\.", "patch_embed.conv."),
        (r"^lm_head\.", "final_proj."),
        (r"\.mlp\.fc1\.", ".mlp.0."),
        (r"\.mlp\.fc2\.", ".mlp.2."),
        (r"^(blocks\.|norm\.|rel_pos_bias\.)", r"encoder.\1"),
    ],
    "v2_image": [(r"fixed_positional_encoder\.positions", "positional_encoder.pos_embed")],
}


def aged(flat, patterns):
    """The same arrays under older names."""
    old = {}
    for key, value in flat.items():
        for new, older in patterns:
            key = re.sub(new, older, key)
        old[key] = value
    return old


@pytest.mark.parametrize("case", OLDER)
def test_older_names(tmp_path, case):
    content, exact = checkpoint(case), imported(case)
    ema = aged(teacher(case, content), OLDER[case])
    content["model"] = aged(student(content), OLDER[case])
    if case == "v1_vision":
        content["model_ema"] = ema
    else:
        content["model"][SYSTEMS[case][1].replace("encoder", "decoder")] = ema
    got = load(tmp_path, content)
    same(got.student, exact.student)
    same({**got.teacher, **got.copies}, {**exact.teacher, **exact.copies})


@pytest.mark.parametrize("case", OLDER)
def test_a_weight_under_two_names_is_left_over(tmp_path, case):
    content = checkpoint(case)
    flat = content["model"]
    names = zip(flat, aged(student(content), OLDER[case]), strict=False)
    key, old = next((k, o) for k, o in names if k != o and not k.endswith("version"))
    flat[old] = flat[key]
    with pytest.raises(UserError, match=rf"1 left over: {re.escape(old)}"):
        load(tmp_path, content)


def test_the_image_positions_of_other_modules(tmp_path):
    content = checkpoint("v2_image")
    for part in (content["model"], content["model"]["_ema"]):
        value = part.pop("modality_encoders.IMAGE.fixed_positional_encoder.positions")
        part["modality_encoders.IMAGE.fixed_positional_encoder.pos_embed"] = value
        part["modality_encoders.IMAGE.encoder_mask"] = np.zeros(3, np.float32)
    same(load(tmp_path, content).student, imported("v2_image").student)


def test_alibi_scales_of_four_axes(tmp_path):
    content = checkpoint("v2_audio")
    for part in (content["model"], content["model"]["_ema"]):
        part["modality_encoders.AUDIO.alibi_scale"] = part["modality_encoders.AUDIO.alibi_scale"][0]
    same(load(tmp_path, content).student, imported("v2_audio").student)


def test_the_target_model_of_old_text(tmp_path):
    content = checkpoint("v1_text")
    content["model"]["encoder.target_model.layers.0.fc1.bias"] = np.zeros(3, np.float32)
    same(load(tmp_path, content).student, imported("v1_text").student)


def test_a_teacher_of_blocks_alone(tmp_path):
    """Its names start with the block's number."""
    content = checkpoint("v2_image")
    content["cfg"]["model"]["ema_encoder_only"] = True
    ema = content["model"]["_ema"]
    blocks = {k.removeprefix("blocks."): v for k, v in ema.items() if k.startswith("blocks.")}
    content["model"]["_ema"] = blocks
    got = load(tmp_path, content)
    assert list(got.teacher) == ["trunk"] and got.config["teacher"]["owns"] == ("trunk",)
    same(got.teacher, {"trunk": imported("v2_image").teacher["trunk"]})
    same(got.convert_teacher({f"blocks.{k}": v for k, v in blocks.items()}), got.teacher)


def test_speech_that_averages_its_positions(tmp_path):
    content = checkpoint("v1_audio")
    content["cfg"]["model"]["ema_layers_only"] = False
    got, exact = load(tmp_path, content), imported("v1_audio")
    same(got.teacher, {**exact.teacher, **exact.copies})
    assert got.copies == {}


def test_no_prefix_tokens(tmp_path):
    content = checkpoint("v2_image")
    image = content["cfg"]["model"]["modalities"]["image"]
    image["num_extra_tokens"] = content["cfg"]["model"]["cls_loss"] = 0
    for part in (content["model"], content["model"]["_ema"]):
        del part["modality_encoders.IMAGE.extra_tokens"]
    got = load(tmp_path, content)
    assert "prefix" not in got.student and "prefix" not in got.teacher
    assert got.config["teacher"]["owns"] == ("frontend", "prenet", "trunk")


# --- data2vec 1.0 vision: sizes from the weights, the rest from what arguments there are -------


def vision(tmp_path, **args):
    content = checkpoint("v1_vision")
    content["args"] = argparse.Namespace(**{**content["args"], **args})
    return load(tmp_path, content).config


def test_arguments(tmp_path):
    got = vision(
        tmp_path, layer_results="fc", target_layers="[2, 0]", l2_loss=True, loss_scale=3.0,
        no_target_layer_norm_last=True, target_instance_norm=True, drop_path=0.25,
        post_target_instance_norm=True, num_mask_patches=20, attn_drop_rate=0.05,
        imagenet_default_mean_and_std=False, max_mask_patches_per_block=None,
    )  # fmt: skip
    assert got["targets"] == {
        "blocks": (2, 0), "site": "ffn", "layer_norms": ("instance",),
        "final_norms": ("instance", "layer"),
    }  # fmt: skip
    assert (got["loss"]["beta"], got["loss"]["scale"]) == (0.0, 3 / 32)
    assert (got["trunk"]["drop_path"], got["trunk"]["attention_dropout"]) == (0.25, 0.05)
    assert got["mask"]["share"] == 20 / 64 and got["frontend"]["std"] == (0.5, 0.5, 0.5)


def test_without_arguments(tmp_path):
    """What the published runs have in common stands in."""
    content = checkpoint("v1_vision")
    del content["args"]
    got, exact = load(tmp_path, content), imported("v1_vision")
    same(got.student, exact.student)
    assert got.config["targets"]["blocks"] == (0, 1, 2)
    assert got.config["targets"]["final_norms"] == ("layer",)
    assert (got.config["loss"]["beta"], got.config["loss"]["scale"]) == (2.0, 1 / 32)
    assert got.config["teacher"]["decay_end"] == 0.9998
    assert got.config["trunk"]["heads"] == 4 and got.config["data"]["image_size"] == 64
    assert got.config["frontend"]["mean"] == (0.485, 0.456, 0.406)


@pytest.mark.parametrize(
    "args, words",
    [
        ({"abs_pos_emb": True}, "args.abs_pos_emb=True: our model only knows False"),
        ({"var_w0": 0.1}, r"args.var_w0=0.1: our model"),
        ({"target_batch_norm": True}, "args.target_batch_norm=True: our model"),
        ({"ema_annealing_till_end": True}, "args.ema_annealing_till_end=True: our model"),
        ({"mask_dropout_prob": 0.1}, "args.mask_dropout_prob=0.1: our model"),
        ({"target_layers": "[3]"}, r"args.target_layers=\[3\] must be different blocks of 0..2"),
        ({"target_layers": "range(3)"}, "args.target_layers='range.*must look like"),
        ({"target_layers": "[]"}, r"args.target_layers=\[\] must be"),
        ({"layer_results": "qkv"}, "args.layer_results='qkv': our model"),
        ({"max_mask_patches_per_block": 20}, "args.max_mask_patches_per_block=20: our model"),
        ({"num_mask_patches": 65}, "args.num_mask_patches=65 must be a number from 1 to 64"),
        ({"l1_beta": "x"}, "args.l1_beta='x' must be a number"),
    ],
)
def test_arguments_we_cannot_follow(tmp_path, args, words):
    with pytest.raises(UserError, match=words):
        vision(tmp_path, **args)


def test_a_table_for_every_block(tmp_path):
    content = checkpoint("v1_vision")
    tables = {}
    for i, part in enumerate((content["model"], content["model_ema"])):
        table = part.pop("rel_pos_bias.relative_position_bias_table")
        for block in range(3):
            key = f"blocks.{block}.attn.relative_position_bias_table"
            tables[i, block] = part[key] = table + block
    got = load(tmp_path, content)
    assert got.config["positions"]["bias"] == "relative_per_block"
    assert "positions" not in got.student and "positions" not in got.config["teacher"]["owns"]
    for i, tree in enumerate((got.student, got.teacher)):
        mine = tree["trunk"]["block_02"]["attention"]["relative"]["table"]
        np.testing.assert_array_equal(mine, tables[i, 2])
    del content["model"]["blocks.1.attn.relative_position_bias_table"]
    with pytest.raises(UserError, match=r"1 missing: blocks\.1\.attn\.relative_position_bias"):
        load(tmp_path, content)


def test_no_table_at_all(tmp_path):
    content = checkpoint("v1_vision")
    for part in (content["model"], content["model_ema"]):
        del part["rel_pos_bias.relative_position_bias_table"]
    got = load(tmp_path, content)
    assert got.config["positions"]["bias"] == "none" and got.config["trunk"]["heads"] == 1
    assert "positions" not in shapes(got.student)


@pytest.mark.parametrize(
    "key, shape, words",
    [
        ("patch_embed.proj.weight", (32, 3, 8, 4), "patches of 8 x 4, not squares"),
        ("patch_embed.proj.weight", (32, 3, 8), r"shape \(32, 3, 8\), where 4 axes"),
        ("rel_pos_bias.relative_position_bias_table", (227, 4), "227 rows, which is no square"),
    ],
)
def test_sizes_that_make_no_model(tmp_path, key, shape, words):
    content = checkpoint("v1_vision")
    content["model"][key] = np.ones(shape, np.float32)
    with pytest.raises(UserError, match=words):
        load(tmp_path, content)
