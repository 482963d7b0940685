"""The originals' numbers, and that one changed number is noticed."""

import functools
import json
import pathlib
import shutil

import golden
import golden_masks
import golden_noise
import numpy as np
import pytest

FOLDER = pathlib.Path(__file__).parent / "golden"
# Quantities that each case must compare, at least.
CASES = {
    "v1_audio": 243,
    "v1_text": 177,
    "v1_vision": 131,
    "v2_audio": 173,
    "v2_image": 148,
    "v2_text": 124,
    "wav2vec2": 128,
    "hubert": 204,
    "hf_audio": 13,
    "hf_audio_ctc": 13,
    "hf_text": 12,
    "hf_text_cls": 12,
    "hf_vision": 10,
    "hf_vision_cls": 6,
    "hf_bert": 71,
    "hf_roberta_mlm": 64,
    "mae": 172,
    "cpc": 37,
    "cpc_transformer": 49,
    "hf_wav2vec2_pretraining": 88,
    "hf_hubert": 71,
}
# What is changed in each, and the name of the comparison that must then fail.
CHANGES = {
    "v1_audio": [
        ("tied/targets", "tied/targets"),
        ("features/pad/post_pos_norm", "features/pad/post_pos_norm"),
        ("grad/mask_emb", "grad/mask/embedding"),
        ("ema_after/layer_norm.weight", "ema_after/prenet/norm/scale"),
    ],
    "v1_text": [
        ("masked_lm_task/targets", "masked_lm_task/targets"),
        ("grad/encoder.regression_head.2.bias", "grad/decoder/proj_01/bias"),
    ],
    "v1_vision": [
        ("features/nopad/rel_pos_bias", "features/nopad/rel_pos_bias"),
        ("loss/smooth_l1/sum", "loss/smooth_l1/sum"),
    ],
    "v2_audio": [
        ("student/alibi_bias", "student/alibi_bias"),
        (
            "grad/modality_encoders.AUDIO.local_encoder.conv_layers.0.0.weight",
            "grad/frontend/conv_00/kernel",
        ),
    ],
    "v2_image": [
        ("targets", "targets"),
        ("loss/cls/sum", "loss/cls/sum"),
        ("features/nopad/block_1_ffn", "features/nopad/block_1_ffn"),
        ("grad/blocks.1.attn.qkv.weight", "grad/trunk/block_01/attention/qkv/kernel"),
        ("ema_after/blocks.0.mlp.fc1.bias", "ema_after/trunk/block_00/mlp/fc1/bias"),
    ],
    "v2_text": [("student/decoder_out", "student/decoder_out")],
    "wav2vec2": [
        ("logits", "logits"),
        ("quantizer/soft", "quantizer/soft"),
        ("grad/quantizer.vars", "grad/quantizer/entries"),
        ("grad/encoder.pos_conv.0.weight_g", "grad/positions/normed_conv/gain"),
    ],
    "hubert": [
        ("loss/u_1/sum", "loss/u_1/sum"),
        ("mfcc/log_mel", "mfcc/log_mel"),
        ("grad/label_embs_concat", "grad/clusters/embedding"),
        ("features/pad/output_layer_2", "features/pad/output_layer_2"),
    ],
    "hf_audio": [("pad/extract_features", "pad/extract_features")],
    "hf_audio_ctc": [("nopad/loss", "nopad/loss")],
    "hf_text": [("pad/pooler_output", "pad/pooler_output")],
    "hf_text_cls": [("pad/logits", "pad/logits")],
    "hf_vision": [("masked/hidden_2", "masked/hidden_2")],
    "hf_vision_cls": [("nomask/loss", "nomask/loss")],
    "hf_bert": [
        ("pad/prediction_logits", "pad/prediction_logits"),
        ("loss/nsp", "loss/nsp"),
    ],
    "hf_roberta_mlm": [("pad/logits", "pad/logits")],
    "mae": [("loss_per_patch", "loss_per_patch"), ("targets", "targets")],
    "cpc": [
        ("logits", "logits"),
        ("features/conv_3", "features/conv_3"),
        ("grad/gEncoder/gAR.baseNet.bias_hh_l0", "grad/trunk/block_00/state_bias"),
    ],
    "cpc_transformer": [("predictions", "predictions"), ("context", "context")],
    "hf_wav2vec2_pretraining": [
        ("eval/loss", "eval/loss"),
        ("projected_quantized_states", "projected_quantized_states"),
        ("grad/quantizer.codevectors", "grad/quantizer/entries"),
    ],
    "hf_hubert": [
        ("nopad/hidden_1", "nopad/hidden_1"),
        ("grad/lm_head.bias", "grad/head/out/bias"),
    ],
}


@functools.cache
def recomputed(name):
    case, recorded = golden.read(FOLDER / name)
    return case, recorded, golden.recompute(FOLDER / name, case, recorded)


def failures(case, recorded, ours):
    return [
        name
        for name, error, limit in golden.differences(case, recorded, ours)
        if not error <= limit
    ]


@pytest.mark.parametrize("name", CASES)
def test_every_recorded_number_is_recomputed(name):
    assert not failures(*recomputed(name))
    assert len(list(golden.differences(*recomputed(name)))) >= CASES[name]
    for array, ours in CHANGES[name]:
        case, recorded, computed = recomputed(name)
        changed = recorded[array].copy()
        finite = np.abs(changed[np.isfinite(changed)])
        changed[(0,) * changed.ndim] += 1e-3 * finite.max()
        if array.startswith(("grad/", "ema_after/")):
            # These are compared in our names: the other side is read again.
            prefix = array.split("/")[0] + "/"
            mine, theirs = computed[1][prefix]
            theirs = dict(theirs)
            path = ours.removeprefix(prefix)
            theirs[path] = theirs[path].copy()
            theirs[path].flat[0] += 1e-3 * np.abs(theirs[path]).max()
            computed = (computed[0], {**computed[1], prefix: (mine, theirs)})
        assert failures(case, {**recorded, array: changed}, computed) == [ours], array


@pytest.mark.parametrize("name", json.loads((FOLDER / "masks" / "masks.json").read_text()))
def test_masks_have_the_statistics_of_the_originals(name):
    lines = list(golden_masks.check(FOLDER / "masks", only=name, share=5))
    assert len(lines) >= 7
    assert not [line for line in lines if not line[1] <= line[2]]


@pytest.mark.parametrize("name", golden_noise.SETS)
def test_texts_are_corrupted_as_by_the_originals(name):
    lines = list(golden_noise.check(FOLDER / "noise_text", only=name, share=4))
    assert len(lines) == 11
    assert not [line for line in lines if not line[1] <= line[2]]


def test_the_command_fails_too(tmp_path, capsys):
    folder = tmp_path / "v2_image"
    shutil.copytree(FOLDER / "v2_image", folder)
    arrays = dict(np.load(folder / "arrays.npz"))
    arrays["pred_masked"] = arrays["pred_masked"] * 1.001
    name = "grad/blocks.1.attn.qkv.weight"
    arrays[name] = arrays[name] * 1.001
    np.savez(folder / "arrays.npz", **arrays, unknown=np.zeros(3))
    assert golden.main([str(folder)]) == 1
    out = capsys.readouterr().out
    assert out.count("FAIL") == 3 and "unknown (not computed)" in out
