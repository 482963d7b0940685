"""Folders of wav2vec 2.0 and HuBERT: fields, names of other files, what is refused, and use."""

import json
import pathlib
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import d2v_jax
from d2v_jax.common.checks import UserError
from d2v_jax.interop.huggingface.hf_read import read_hf
from d2v_jax.transfer import convert

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"
WAV2VEC2, HUBERT = "hf_wav2vec2_pretraining", "hf_hubert"
SECOND = np.random.default_rng(0).normal(size=16_000).astype(np.float32)


@pytest.fixture
def copy(tmp_path):
    """copy(case, fields of config.json, new name of a key or None) -> a folder of its own."""

    def made(case, fields=None, rename=lambda key: key):
        target = tmp_path / case
        shutil.copytree(GOLDEN / case / "pretrained", target)
        content = json.loads((target / "config.json").read_text()) | (fields or {})
        (target / "config.json").write_text(json.dumps(content))
        flat = load_file(target / "model.safetensors").items()
        renamed = {rename(key): value for key, value in flat}
        renamed.pop(None, None)
        save_file(renamed, target / "model.safetensors")
        return target

    return made


def test_fields(copy):
    fields = {"hidden_dropout": 0.2, "layerdrop": 0.3, "feat_proj_dropout": 0.4, "dtype": "float16"}
    model = read_hf(copy(WAV2VEC2, fields))
    config, trunk = model.config, model.config["trunk"]
    assert model.system == "wav2vec2_audio" and model.head is None and model.teacher is None
    assert config["frontend"]["conv_norm"] == "first" and config["frontend"]["gradient"] == 1.0
    assert config["frontend"]["conv_layers"][0] == (24, 10, 5)
    assert (trunk["width"], trunk["heads"], trunk["depth"], trunk["mlp_ratio"]) == (32, 4, 3, 2.0)
    assert (trunk["block"], trunk["input_norm"], trunk["output_norm"]) == ("post_norm", True, False)
    assert (trunk["dropout"], trunk["layer_drop"], trunk["dtype"]) == (0.2, 0.3, "bfloat16")
    contrast = config["contrast"]
    assert [contrast[k] for k in ("groups", "entries", "width", "projected")] == [2, 6, 16, 16]
    assert (contrast["negatives"], contrast["penalty"], contrast["input_dropout"]) == (7, 0.0, 0.4)


def test_norms_before_branches_end_in_one(copy):
    model = read_hf(copy(HUBERT, {"do_stable_layer_norm": True}))
    trunk = model.config["trunk"]
    assert trunk["block"] == "plain_pre_norm" and trunk["output_norm"] and not trunk["input_norm"]
    assert "norm" in model.student["trunk"] and not model.student.get("prenet")


def test_older_files_call_the_position_kernel_otherwise(copy):
    parts = {"parametrizations.weight.original0": "weight_g"}
    parts["parametrizations.weight.original1"] = "weight_v"

    def old(key):
        for new, name in parts.items():
            key = key.replace(new, name)
        return key

    ours = read_hf(GOLDEN / HUBERT / "pretrained").student["positions"]["normed_conv"]
    theirs = read_hf(copy(HUBERT, rename=old)).student["positions"]["normed_conv"]
    assert all(np.array_equal(ours[name], theirs[name]) for name in ("gain", "kernel", "bias"))


def test_an_encoder_alone(copy):
    """Their bare model has neither prefix nor heads, and without masks no embedding for them."""

    def bare(key):
        inside = key.startswith("wav2vec2.") and not key.endswith("masked_spec_embed")
        return key.removeprefix("wav2vec2.") if inside else None

    folder = copy(WAV2VEC2, {"architectures": ["Wav2Vec2Model"]}, bare)
    assert list(read_hf(folder).student) == ["frontend", "positions", "prenet", "trunk"]
    ours, theirs = d2v_jax.load(GOLDEN / WAV2VEC2 / "pretrained"), d2v_jax.load(folder)
    assert np.array_equal(ours.features([SECOND]), theirs.features([SECOND]))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"feat_extract_norm": "batch"}, "feat_extract_norm='batch' is not one of group, layer"),
        ({"add_adapter": True}, "add_adapter=True: our model only knows False"),
        ({"conv_pos_batch_norm": True}, "conv_pos_batch_norm=True: our model only knows False"),
        ({"num_attention_heads": 5}, "hidden_size=32 is no multiple of 5 heads"),
        ({"conv_stride": [5, 2]}, "conv_dim, conv_kernel and conv_stride differ in length"),
        ({"codevector_dim": 12}, "quantizer.codevectors"),
    ],
)
def test_what_cannot_be_read_is_named(copy, fields, words):
    with pytest.raises(UserError, match=words):
        read_hf(copy(WAV2VEC2, fields))


def test_classes_of_sounds_are_refused(copy):
    classes = lambda key: key.replace("lm_head.", "projector.")
    with pytest.raises(UserError, match="of a hubert model only the encoder"):
        read_hf(copy(HUBERT, {"architectures": ["HubertForSequenceClassification"]}, classes))


def test_letters(copy):
    folder = copy(HUBERT, {"pad_token_id": 2})
    (folder / "vocab.json").write_text(json.dumps({"a": 12, "|": 4, "<pad>": 2}))
    head = read_hf(folder).head
    assert head["kind"] == "ctc" and head["blank"] == 2 and head["labels"][12] == "a"
    (folder / "vocab.json").write_text(json.dumps({"a": 13}))
    with pytest.raises(UserError, match="vocab.json has a label beyond vocab_size=13"):
        read_hf(folder)


def test_a_folder_becomes_a_run_with_the_same_letters(tmp_path):
    source = GOLDEN / HUBERT / "pretrained"
    said = convert.convert(source, tmp_path / "run")
    assert "a ctc head" in said and "reading them back: 0" in said
    ours, theirs = (d2v_jax.load(path).logits([SECOND])[0] for path in (tmp_path / "run", source))
    assert np.array_equal(ours, theirs) and theirs.shape == (49, 13)
