"""Vision of data2vec 1.0: sizes from the weights, the rest from what arguments there are."""

import argparse

import numpy as np
import pytest
from cases import checkpoint, imported, load, same, shapes

from d2v_jax.common.checks import UserError


def vision(tmp_path, **args):
    content = checkpoint("v1_vision")
    content["args"] = argparse.Namespace(**{**content["args"], **args})
    return load(tmp_path, content).config


def test_arguments(tmp_path):
    got = vision(
        tmp_path,
        layer_results="fc",
        target_layers="[2, 0]",
        l2_loss=True,
        loss_scale=3.0,
        no_target_layer_norm_last=True,
        target_instance_norm=True,
        drop_path=0.25,
        post_target_instance_norm=True,
        num_mask_patches=20,
        attn_drop_rate=0.05,
        imagenet_default_mean_and_std=False,
        max_mask_patches_per_block=None,
    )
    assert got["targets"] == {
        "blocks": (2, 0),
        "site": "ffn",
        "layer_norms": ("instance",),
        "final_norms": ("instance", "layer"),
    }
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
