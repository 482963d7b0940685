"""Folders of ViTMAE: an original's checkpoint under Hugging Face's names is the same model."""

import json
import re

import numpy as np
import pytest
from cases import GOLDEN, checkpoint, same

import d2v_jax
from d2v_jax.common.checks import UserError
from d2v_jax.interop.fairseq.reader import read_fairseq
from d2v_jax.interop.huggingface import hf_files
from d2v_jax.interop.huggingface.hf_read import read_hf
from d2v_jax.interop.huggingface.hf_write import write_hf

ORIGINAL = GOLDEN / "mae" / "checkpoint.pt"
FIELDS = {
    "model_type": "vit_mae",
    "architectures": ["ViTMAEForPreTraining"],
    "hidden_size": 32,
    "num_attention_heads": 4,
    "decoder_num_attention_heads": 3,
    "layer_norm_eps": 1e-6,
    "mask_ratio": 0.75,
    "norm_pix_loss": False,
}
# The original's names -> those of transformers, in this order.
NAMES = {
    r"^blocks\.": "vit.encoder.layer.",
    r"^norm\.": "vit.layernorm.",
    r"^cls_token": "vit.embeddings.cls_token",
    r"^pos_embed": "vit.embeddings.position_embeddings",
    r"^patch_embed\.proj": "vit.embeddings.patch_embeddings.projection",
    r"^decoder_blocks\.": "decoder.decoder_layers.",
    r"^(decoder_(embed|norm|pred|pos_embed)|mask_token)": r"decoder.\1",
    r"\.attn\.qkv\.": ".attention.attention.{}.",
    r"\.attn\.proj\.": ".attention.output.dense.",
    r"\.mlp\.fc1\.": ".intermediate.dense.",
    r"\.mlp\.fc2\.": ".output.dense.",
    r"\.norm1\.": ".layernorm_before.",
    r"\.norm2\.": ".layernorm_after.",
}


def theirs() -> dict[str, np.ndarray]:
    """The golden checkpoint under Hugging Face's names, queries, keys and values apart."""
    flat = {}
    for key, value in checkpoint("mae")["model"].items():
        for pattern, name in NAMES.items():
            key = re.sub(pattern, name, key)
        parts = np.split(value, 3) if "{}" in key else [value]
        for word, part in zip(("query", "key", "value"), parts, strict=False):
            flat[key.format(word)] = part
    return flat


@pytest.fixture
def folder(tmp_path):
    """folder(other fields, new name of a key or None) -> a folder of its own."""

    def made(fields=None, rename=lambda key: key):
        flat = {rename(key): value for key, value in theirs().items()}
        flat.pop(None, None)
        hf_files.write_safetensors(tmp_path / hf_files.WEIGHTS, flat, {"format": "pt"})
        hf_files.write_json(tmp_path / hf_files.CONFIG, FIELDS | (fields or {}))
        return tmp_path

    return made


def alone(key):
    """What their bare model keeps."""
    return key.removeprefix("vit.") if key.startswith("vit.") else None


def as_some_versions_write(key):
    return key.replace("decoder_layers.", "decoder_encoder.layer.")


@pytest.mark.parametrize("rename", [lambda key: key, as_some_versions_write])
def test_the_same_model(folder, rename):
    ours, original = read_hf(folder(rename=rename)), read_fairseq(ORIGINAL)
    same(ours.student, original.student)
    assert ours.system == original.system == "mae_image" and ours.head is None
    for section in ("trunk", "painter", "frontend", "mask"):
        assert ours.config[section] == original.config[section]
    assert not ours.config["pixels"]["normalize"]


def test_an_encoder_alone_gives_the_same_features(folder):
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype(np.uint8)
    encoder = d2v_jax.load(folder({"architectures": ["ViTMAEModel"]}, alone))
    assert list(encoder.params) == ["frontend", "prefix", "trunk"]
    want = d2v_jax.load(ORIGINAL).features(images, pool=None)
    np.testing.assert_array_equal(encoder.features(images, pool=None), want)


@pytest.mark.parametrize("keep", [lambda key: key, alone])
def test_what_is_written_is_what_was_read(folder, tmp_path, keep):
    path = folder(rename=keep)
    ours, flat = read_hf(path), hf_files.read_weights(path)
    write_hf(tmp_path / "out", ours.system, ours.config, ours.student)
    back = hf_files.read_weights(tmp_path / "out")
    assert back.keys() == flat.keys()
    for key, value in flat.items():
        places = "pos" in key and "embed" in key  # those are computed, float32 in another order
        np.testing.assert_allclose(back[key], value, rtol=0, atol=2e-7 if places else 0)
    again = read_hf(tmp_path / "out")
    same(again.student, ours.student)
    if keep is not alone:  # which tells no decoder
        assert again.config == ours.config


def test_fields(folder):
    path = folder({"mask_ratio": 0.5, "norm_pix_loss": True, "layer_norm_eps": 1e-12})
    content = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}
    (path / "preprocessor_config.json").write_text(json.dumps(content))
    config = read_hf(path).config
    assert config["mask"]["share"] == 0.5 and config["pixels"]["normalize"]
    assert config["trunk"]["norm_eps"] == 1e-12
    assert config["frontend"]["mean"] == (0.1, 0.2, 0.3)
    assert config["frontend"]["std"] == (0.4, 0.5, 0.6)


@pytest.mark.parametrize(
    ("fields", "lost", "words"),
    [
        ({"qkv_bias": False}, "", "config.json.qkv_bias=False: our model only knows True"),
        ({"num_attention_heads": 5}, "", "trunk.width=32 is no multiple of 5 heads"),
        ({"decoder_num_attention_heads": 5}, "", "painter.width=24 is no multiple of 5 heads"),
        ({}, "decoder.decoder_layers.0.intermediate.dense.weight", "tells the decoder's size"),
        (
            {},
            "vit.encoder.layer.2.layernorm_after.bias",
            "1 missing: vit.encoder.layer.2.layernorm_after",
        ),
    ],
)
def test_what_cannot_be_read_is_named(folder, fields, lost, words):
    path = folder(fields, lambda key: None if key == lost else key)
    with pytest.raises(UserError, match=words):
        read_hf(path)


def test_other_positions_are_refused(folder):
    path = folder()
    flat = hf_files.read_weights(path)
    flat["vit.embeddings.position_embeddings"][0, 3] += 0.1
    hf_files.write_safetensors(path / hf_files.WEIGHTS, flat, {})
    with pytest.raises(UserError, match="not what we compute ourselves: vit.embeddings.position_"):
        read_hf(path)
