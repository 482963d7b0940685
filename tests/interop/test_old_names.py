"""Files of other days: older names of the same weights, and teachers of other extent."""

import re

import numpy as np
import pytest
from cases import SYSTEMS, checkpoint, imported, load, same, student, teacher

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
