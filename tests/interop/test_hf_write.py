"""Folders we write for Hugging Face hold what theirs hold, or the field is named that cannot."""

import copy
import json
import pathlib

import numpy as np
import pytest
from cases import same
from safetensors import safe_open
from safetensors.numpy import load_file

from d2v_jax.common import trees
from d2v_jax.common.checks import UserError
from d2v_jax.interop.fairseq.reader import read_fairseq
from d2v_jax.interop.huggingface import hf_files
from d2v_jax.interop.huggingface.hf_read import read_hf
from d2v_jax.interop.huggingface.hf_write import write_hf

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"
CASES = sorted(GOLDEN.glob("hf_*"))
# Fields of heads and training that no encoder has; absent ones are the classes' defaults.
OF_OTHERS = {
    "adapter_kernel_size",
    "adapter_stride",
    "num_adapter_layers",
    "classifier_proj_size",
    "tdnn_dilation",
    "tdnn_dim",
    "tdnn_kernel",
    "xvector_output_dim",
    "apply_spec_augment",
    "mask_feature_length",
    "mask_feature_min_masks",
    "mask_time_min_masks",
    "auxiliary_channels",
    "auxiliary_concat_input",
    "auxiliary_loss_weight",
    "auxiliary_num_convs",
    "out_indices",
    "pool_scales",
    "semantic_loss_ignore_index",
    "use_auxiliary_head",
    "tie_word_embeddings",
    "transformers_version",
}
# Of siblings, what says how a folder was made and nothing of the model.
OF_SIBLINGS = {"mask_time_prob", "ctc_zero_infinity", "vocab_size"}


def written(folder, model):
    write_hf(folder, model.system, model.config, model.student, model.head)
    return folder


def read_both(path):
    with safe_open(path, framework="np") as file:
        metadata = file.metadata()
    return load_file(path), metadata


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.name)
def test_the_same_file_comes_out(case, tmp_path):
    theirs, metadata = read_both(case / "pretrained" / "model.safetensors")
    written(tmp_path, read_hf(case / "pretrained"))
    ours, our_metadata = read_both(tmp_path / "model.safetensors")
    assert our_metadata == metadata == {"format": "pt"}
    assert {k: (v.shape, v.dtype) for k, v in ours.items()} == {
        k: (v.shape, v.dtype) for k, v in theirs.items()
    }
    types = [key for key in theirs if "token_type" in key]
    # Of data2vec a row that every token gets, which is now part of the words.
    for key in types if case.name.startswith("hf_text") else ():
        theirs[key.replace("token_type", "word")] += theirs[key]
        theirs[key] = np.zeros_like(theirs[key])
    for key, array in theirs.items():
        np.testing.assert_array_equal(ours[key], array)


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.name)
def test_the_same_fields_come_out(case, tmp_path):
    theirs = json.loads((case / "pretrained" / "config.json").read_text())
    written(tmp_path, read_hf(case / "pretrained"))
    ours = json.loads((tmp_path / "config.json").read_text())
    speech = theirs["model_type"] in ("wav2vec2", "hubert")
    for key in OF_SIBLINGS if speech else ():
        ours[key] = theirs[key]
    assert ours == {key: value for key, value in theirs.items() if key not in OF_OTHERS}


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.name)
def test_round_trip(case, tmp_path):
    model = read_hf(case / "pretrained")
    again = read_hf(written(tmp_path, model))
    assert again.system == model.system and again.config == model.config
    leaves = lambda m: dict(
        trees.leaves({"s": m.student, "h": (m.head or {"params": {}})["params"]})
    )
    ours, theirs = leaves(again), leaves(model)
    assert ours.keys() == theirs.keys()
    for path in ours:
        np.testing.assert_array_equal(ours[path], theirs[path])
    rest = lambda m: {k: v for k, v in (m.head or {}).items() if k != "params"}
    assert rest(again) == rest(model)


def test_mask_embeddings_are_written(tmp_path):
    model = read_hf(GOLDEN / "hf_audio" / "pretrained")
    student = {**model.student, "mask": {"embedding": np.arange(32, dtype=np.float32)}}
    write_hf(tmp_path, "v1_audio", model.config, student)
    np.testing.assert_array_equal(
        read_hf(tmp_path).student["mask"]["embedding"], student["mask"]["embedding"]
    )
    assert json.loads((tmp_path / "config.json").read_text())["mask_time_prob"] == 0.05


@pytest.mark.parametrize("case", ["v1_audio", "v1_text", "v1_vision"])
def test_checkpoints_of_the_originals_become_their_folders(case, tmp_path):
    model = read_fairseq(GOLDEN / case / "checkpoint.pt")
    left_out = write_hf(tmp_path, model.system, model.config, model.student, model.head)
    decoder = {"decoder": model.student["decoder"]}
    assert left_out == [path for path, _ in trees.leaves(decoder)] and left_out
    again = read_hf(tmp_path)
    assert again.student.keys() == model.student.keys() - {"decoder"}
    for path, leaf in trees.leaves(again.student):
        np.testing.assert_array_equal(leaf, dict(trees.leaves(model.student))[path])
    assert again.config["trunk"]["norm_eps"] == model.config["trunk"]["norm_eps"]


def test_preprocessors(tmp_path):
    model = read_hf(GOLDEN / "hf_vision" / "pretrained")
    model.config["frontend"] |= {"mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6)}
    images = json.loads((written(tmp_path / "i", model) / "preprocessor_config.json").read_text())
    assert images["image_mean"] == [0.1, 0.2, 0.3] and images["size"] == {"height": 64, "width": 64}
    assert read_hf(tmp_path / "i").config["frontend"]["std"] == (0.4, 0.5, 0.6)
    folder = written(tmp_path / "a", read_hf(GOLDEN / "hf_audio" / "pretrained"))
    sound = json.loads((folder / "preprocessor_config.json").read_text())
    assert sound["sampling_rate"] == 16_000 and sound["do_normalize"] is True
    assert sound["return_attention_mask"] is True
    folder = written(tmp_path / "t", read_hf(GOLDEN / "hf_text" / "pretrained"))
    assert sorted(p.name for p in folder.iterdir()) == ["config.json", "model.safetensors"]


def test_letters_of_a_ctc_model(tmp_path):
    model = read_hf(GOLDEN / "hf_audio_ctc" / "pretrained")
    letters = ("<pad>", "<s>", "</s>", "<unk>", "|", *map(chr, range(65, 92)))
    model.head["labels"] = letters
    head = read_hf(written(tmp_path, model)).head
    assert head["labels"] == letters and head["blank"] == 0
    tokenizer = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert (tokenizer["pad_token"], tokenizer["bos_token"]) == ("<pad>", "<s>")
    model.head["labels"] = letters[:-1]
    with pytest.raises(UserError, match="32 outputs, but 31 labels"):
        written(tmp_path / "other", model)


def test_names_of_classes(tmp_path):
    model = read_hf(GOLDEN / "hf_text_cls" / "pretrained")
    model.head["labels"] = ("no", "maybe", "yes")
    written(tmp_path, model)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["id2label"]["2"] == "yes" and config["label2id"] == {
        "no": 0,
        "maybe": 1,
        "yes": 2,
    }
    assert read_hf(tmp_path).head["labels"] == ("no", "maybe", "yes")
    model.head["labels"] = ("no", "yes")
    with pytest.raises(UserError, match="3 outputs, but 2 labels"):
        written(tmp_path, model)


@pytest.mark.parametrize(
    ("case", "path", "value", "message"),
    [
        ("hf_audio", "positions.zero_padding", "never", "'never': the .* 'input'"),
        ("hf_audio", "positions.bias", "alibi", "positions.bias='alibi': .* only knows 'none'"),
        ("hf_audio", "trunk.prenet_depth", 1, "trunk.prenet_depth=1"),
        ("hf_audio", "frontend.norm_eps", 1e-6, "frontend.norm_eps=1e-06: .* knows 1e-05"),
        ("hf_text", "trunk.input_norm", True, "trunk.input_norm=True"),
        ("hf_text", "frontend.norm_eps", 1e-6, "frontend.norm_eps=1e-06"),
        ("hf_vision", "positions.bias", "alibi", "'alibi': .* 'relative or relative_per_block"),
        ("hf_vision", "frontend.normalize", "crop", "frontend.normalize='crop'"),
        ("hf_vision", "frontend.mean", (0.5,), r"frontend.mean=\(0.5,\): .*'3 numbers'"),
        ("hf_vision_cls", "trunk.output_norm", True, "trunk.output_norm=True: .* False"),
        ("hf_vision_cls", "trunk.norm_eps", 1e-5, "head's norm_eps=1e-06: .*norm_eps=1e-05"),
        ("hf_bert", "positions.bias", "alibi", "positions.bias='alibi': .* only knows 'none'"),
        ("hf_bert", "frontend.norm_eps", 1e-6, "frontend.norm_eps=1e-06: .* knows 1e-12"),
        ("hf_bert", "frontend.positions", "learned", "sentences.next=True and frontend.positions"),
        ("hf_roberta_mlm", "trunk.prefix_tokens", 1, "trunk.prefix_tokens=1"),
        ("hf_wav2vec2_pretraining", "positions.add", "conv", "positions.add='conv'"),
        ("hf_wav2vec2_pretraining", "frontend.conv_style", "padded", "conv_style='padded'"),
        ("hf_hubert", "trunk.output_norm", True, "trunk.output_norm=True: .* knows False"),
        ("hf_vision", "trunk.depth", 2, "15 left over: .*trunk/block_02"),
        ("hf_vision", "trunk.width", 64, "of another shape: student/frontend/patch/kernel is"),
    ],
)
def test_refused_fields(tmp_path, case, path, value, message):
    model = read_hf(GOLDEN / case / "pretrained")
    config = copy.deepcopy(model.config)
    section, name = path.split(".")
    config[section][name] = value
    with pytest.raises(UserError, match=message):
        write_hf(tmp_path / "out", model.system, config, model.student, model.head)
    assert not (tmp_path / "out").exists()


def test_parts_without_a_place_are_left_out(tmp_path):
    ours = read_fairseq(GOLDEN / "hubert" / "checkpoint.pt")
    left_out = write_hf(tmp_path, ours.system, ours.config, ours.student)
    assert {name.split("/")[0] for name in left_out} == {"prediction", "clusters"}
    again = read_hf(tmp_path)
    kept = {part: tree for part, tree in ours.student.items() if part in again.student}
    same(again.student, kept)
    content = json.loads((tmp_path / "config.json").read_text())
    assert content["architectures"] == ["HubertModel"]


@pytest.mark.parametrize(
    ("case", "dropped", "name"),
    [
        ("hf_bert", ("pooler", "next"), "BertForMaskedLM"),
        ("hf_bert", ("pooler", "next", "naming"), "BertModel"),
        ("hf_roberta_mlm", ("naming",), "RobertaModel"),
        ("hf_wav2vec2_pretraining", ("quantizer", "target", "prediction"), "Wav2Vec2Model"),
    ],
)
def test_the_class_follows_the_parts(tmp_path, case, dropped, name):
    ours = read_hf(GOLDEN / case / "pretrained")
    student = {part: tree for part, tree in ours.student.items() if part not in dropped}
    assert write_hf(tmp_path, ours.system, ours.config, student) == []
    same(read_hf(tmp_path).student, student)
    content = json.loads((tmp_path / "config.json").read_text())
    assert content["architectures"] == [name]


def test_refused_models(tmp_path):
    model = read_hf(GOLDEN / "hf_text" / "pretrained")
    with pytest.raises(UserError, match="no Hugging Face class .*v2_text.*data2vec 2.0"):
        write_hf(tmp_path, "v2_text", model.config, model.student)
    with pytest.raises(UserError, match="v1_text model has no head 'ctc'; known: 'text_pooler'"):
        write_hf(tmp_path, "v1_text", model.config, model.student, {"kind": "ctc", "params": {}})
    bert = read_hf(GOLDEN / "hf_bert" / "pretrained")
    with pytest.raises(UserError, match="a bert_text model has no head 'text_classes'"):
        write_hf(
            tmp_path, "bert_text", bert.config, bert.student, {"kind": "text_classes", "params": {}}
        )
    model.student["frontend"]["norm"]["bias"][3] = np.nan
    with pytest.raises(UserError, match="NaN .*embeddings.LayerNorm.bias"):
        written(tmp_path, model)
    assert not list(tmp_path.iterdir())


def test_refused_places(tmp_path):
    model = read_hf(GOLDEN / "hf_text" / "pretrained")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file is a file; name a folder"):
        written(tmp_path / "file", model)
    (tmp_path / "pytorch_model.bin").write_text("")
    with pytest.raises(UserError, match="holds another model's pytorch_model.bin"):
        written(tmp_path, model)


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    model = read_hf(GOLDEN / "hf_text" / "pretrained")
    written(tmp_path, model)
    before = (tmp_path / "model.safetensors").read_bytes()

    def full(arrays, path, metadata):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(hf_files, "save_file", full)
    model.student["frontend"]["norm"]["bias"][3] += 1
    with pytest.raises(UserError, match="cannot be written: .*No space left"):
        written(tmp_path, model)
    assert (tmp_path / "model.safetensors").read_bytes() == before
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["config.json", "model.safetensors"]
