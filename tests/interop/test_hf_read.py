"""Hugging Face folders become our fields and trees, or are refused by file, key or field."""

import json
import pathlib
import shutil

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from torch_files import zip_file

from d2v_jax.common import trees
from d2v_jax.common.checks import UserError
from d2v_jax.interop import keymap
from d2v_jax.interop.huggingface.hf_read import SET_ASIDE, read_hf

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"
CASES = sorted(GOLDEN.glob("hf_*"))
Q = "encoder.layers.1.attention.q_proj.weight"


def folder(name):
    return GOLDEN / name / "pretrained"


@pytest.fixture
def copy(tmp_path):
    """copy(case, change of config.json, change of the weights) -> a folder of its own."""

    def made(name, fields=None, weights=None, drop=()):
        target = tmp_path / name
        shutil.copytree(folder(name), target)
        config = json.loads((target / "config.json").read_text()) | (fields or {})
        (target / "config.json").write_text(json.dumps(config))
        flat = load_file(target / "model.safetensors") | (weights or {})
        flat = {key: value for key, value in flat.items() if key not in drop}
        save_file(flat, target / "model.safetensors")
        return target

    return made


def flat_of(name):
    return load_file(folder(name) / "model.safetensors")


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.name)
def test_every_number_is_taken_once(case):
    flat = load_file(case / "pretrained" / "model.safetensors")
    model = read_hf(case / "pretrained")
    used = [key for _, theirs, _ in model.report for key in theirs.split(" + ")]
    assert sorted(used) == sorted(flat)
    head = model.head["params"] if model.head else {}
    leaves = dict(trees.leaves({"student": model.student, "head": head}))
    assert [ours for ours, _, _ in model.report] != [] and len(model.report) == len(leaves)
    for ours, theirs, shape in model.report:
        assert leaves[ours].shape == shape and leaves[ours].dtype == np.float32
        keys = [key for key in theirs.split(" + ") if "token_type" not in key]
        if len(keys) == len(theirs.split(" + ")):
            parts = np.sort(np.concatenate([flat[key].ravel() for key in keys]))
            np.testing.assert_array_equal(np.sort(leaves[ours], None), parts)


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.name)
def test_the_key_map_takes_other_arrays_of_those_names(case):
    flat = load_file(case / "pretrained" / "model.safetensors")
    model = read_hf(case / "pretrained")
    keys = {key for rule in model.layout.student for key in rule.theirs}
    doubled = model.convert_student({key: 2 * flat[key] for key in keys})
    for path, leaf in trees.leaves(doubled):
        np.testing.assert_array_equal(leaf, 2 * dict(trees.leaves(model.student))[path])


def test_layouts_of_speech():
    flat, model = flat_of("hf_audio"), read_hf(folder("hf_audio"))
    student = model.student
    conv = flat["feature_extractor.conv_layers.1.conv.weight"]
    assert student["frontend"]["conv_01"]["kernel"][2, 3, 5] == conv[5, 3, 2]
    place = flat["encoder.pos_conv_embed.layers.4.conv.weight"]
    assert student["positions"]["conv_04"]["kernel"][18, 7, 30] == place[30, 7, 18]
    qkv = student["trunk"]["block_01"]["attention"]["qkv"]
    for i, name in enumerate("qkv"):
        theirs = flat[f"encoder.layers.1.attention.{name}_proj.weight"]
        assert qkv["kernel"][3, 32 * i + 5] == theirs[5, 3]
        theirs = flat[f"encoder.layers.1.attention.{name}_proj.bias"]
        np.testing.assert_array_equal(qkv["bias"][32 * i : 32 * i + 32], theirs)
    assert (
        student["trunk"]["block_02"]["norm2"]["scale"][4]
        == (flat["encoder.layers.2.final_layer_norm.weight"][4])
    )
    assert "mask" not in student and "decoder" not in student and model.teacher is None


def test_layouts_of_images():
    flat, model = flat_of("hf_vision_cls"), read_hf(folder("hf_vision_cls"))
    block = model.student["trunk"]["block_01"]
    theirs = "data2vec_vision.encoder.layer.1."
    inner = f"{theirs}attention.attention."
    kernel = block["attention"]["qkv"]["kernel"]
    for i, name in enumerate(("query", "key", "value")):
        assert kernel[3, 32 * i + 5] == flat[f"{inner}{name}.weight"][5, 3]
    np.testing.assert_array_equal(block["attention"]["v_bias"], flat[f"{inner}value.bias"])
    np.testing.assert_array_equal(block["gamma2"], flat[f"{theirs}lambda_2"])
    table = flat[f"{inner}relative_position_bias.relative_position_bias_table"]
    np.testing.assert_array_equal(block["attention"]["relative"]["table"], table)
    patch = flat["data2vec_vision.embeddings.patch_embeddings.projection.weight"]
    assert model.student["frontend"]["patch"]["kernel"][6, 1, 2, 30] == patch[30, 2, 6, 1]
    np.testing.assert_array_equal(
        model.head["params"]["norm"]["bias"], flat["data2vec_vision.pooler.layernorm.bias"]
    )
    assert model.head["params"]["out"]["kernel"].shape == (32, 10)
    assert model.head["labels"][9] == "LABEL_9" and model.head["norm_eps"] == 1e-6


def test_the_token_type_of_all_is_part_of_the_embedding():
    flat, model = flat_of("hf_text"), read_hf(folder("hf_text"))
    words = flat["embeddings.word_embeddings.weight"]
    types = flat["embeddings.token_type_embeddings.weight"]
    assert np.abs(types).max() > 0.1
    table = model.student["frontend"]["tokens"]["embedding"]
    np.testing.assert_array_equal(table, words + types[0])


def test_fields_of_speech(copy):
    fields = {"layer_norm_eps": 1e-6, "hidden_dropout": 0.2, "layerdrop": 0.3, "dtype": "float16"}
    model = read_hf(copy("hf_audio", fields))
    config = model.config
    assert model.system == "v1_audio" and model.head is None
    assert config["frontend"]["conv_layers"][0] == (16, 10, 5)
    assert config["frontend"]["norm_eps"] == config["trunk"]["norm_eps"] == 1e-6
    positions = config["positions"]
    assert (positions["add"], positions["bias"]) == ("conv", "none")
    assert positions["zero_padding"] == "input"
    assert [positions[f"conv_{name}"] for name in ("layers", "kernel", "groups")] == [5, 19, 4]
    trunk = config["trunk"]
    assert (trunk["width"], trunk["heads"], trunk["depth"], trunk["mlp_ratio"]) == (32, 4, 3, 2.0)
    assert (trunk["dropout"], trunk["layer_drop"], trunk["dtype"]) == (0.2, 0.3, "bfloat16")
    assert config["targets"]["blocks"] == (0, 1, 2)


def test_fields_of_text():
    config = read_hf(folder("hf_text")).config
    frontend = config["frontend"]
    assert (frontend["vocab_size"], frontend["max_tokens"]) == (99, 64)
    assert (frontend["pad_id"], frontend["mask_id"], frontend["norm_eps"]) == (1, 98, 1e-5)
    assert config["positions"]["zero_padding"] == "never"
    assert config["decoder"]["hidden"] == (64,) and config["data"]["tokens"] == 64


@pytest.mark.parametrize(
    ("shared", "each", "bias"),
    [(True, False, "relative"), (False, True, "relative_per_block"), (False, False, "none")],
)
def test_position_bias_of_images(copy, shared, each, bias):
    key = "encoder.relative_position_bias.relative_position_bias_table"
    own = "encoder.layer.{}.attention.attention.relative_position_bias.relative_position_bias_table"
    table = flat_of("hf_vision")[key]
    fields = {"use_shared_relative_position_bias": shared, "use_relative_position_bias": each}
    weights = {own.format(i): table + i for i in range(3)} if each else {}
    model = read_hf(copy("hf_vision", fields, weights, () if shared else (key,)))
    assert model.config["positions"]["bias"] == bias
    assert ("positions" in model.student) == shared
    relative = model.student["trunk"]["block_02"]["attention"].get("relative")
    assert each == (relative is not None)
    if each:
        np.testing.assert_array_equal(relative["table"], table + 2)


def test_images_with_a_final_norm_have_no_pooled_one(copy):
    weights = {"layernorm.weight": np.full(32, 2, np.float32), "layernorm.bias": np.zeros(32, "f4")}
    model = read_hf(copy("hf_vision", {"use_mean_pooling": False}, weights))
    assert model.config["trunk"]["output_norm"]
    assert model.student["trunk"]["norm"]["scale"][0] == 2
    assert not read_hf(folder("hf_vision")).config["trunk"]["output_norm"]


def test_image_classes_that_read_the_class_token(copy):
    drop = [f"data2vec_vision.pooler.layernorm.{name}" for name in ("weight", "bias")]
    norm = {f"data2vec_vision.layernorm.{k}": np.ones(32, np.float32) for k in ("weight", "bias")}
    model = read_hf(copy("hf_vision_cls", {"use_mean_pooling": False}, norm, drop))
    assert model.config["trunk"]["output_norm"] and model.head["params"].keys() == {"out"}


def test_a_pooled_norm_alone_is_a_head(copy):
    norm = {f"pooler.layernorm.{k}": np.ones(32, np.float32) for k in ("weight", "bias")}
    head = read_hf(copy("hf_vision", weights=norm)).head
    assert head["kind"] == "image_pooler" and head["params"]["norm"]["scale"].shape == (32,)


def test_mask_token_and_layer_scale(copy):
    assert read_hf(folder("hf_vision")).student["mask"]["embedding"].shape == (32,)
    assert "mask" not in read_hf(folder("hf_vision_cls")).student
    gammas = [f"encoder.layer.{i}.lambda_{j}" for i in range(3) for j in (1, 2)]
    student = read_hf(copy("hf_vision", {"layer_scale_init_value": 0.0}, drop=gammas)).student
    np.testing.assert_array_equal(student["trunk"]["block_00"]["gamma1"], np.ones(32))


def test_mask_embedding_of_speech(copy):
    assert "mask" not in read_hf(copy("hf_audio", {"mask_time_prob": 0.05})).student


def test_mask_embedding_of_speech_is_read_where_it_is(copy):
    value = np.arange(32, dtype=np.float32)
    student = read_hf(copy("hf_audio", weights={"masked_spec_embed": value})).student
    np.testing.assert_array_equal(student["mask"]["embedding"], value)


def test_preprocessor_of_images(copy):
    target = copy("hf_vision")
    assert read_hf(target).config["frontend"]["mean"] == (0.5, 0.5, 0.5)
    content = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6], "size": 64}
    (target / "preprocessor_config.json").write_text(json.dumps(content))
    frontend = read_hf(target).config["frontend"]
    assert (frontend["mean"], frontend["std"]) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    (target / "preprocessor_config.json").write_text(json.dumps(content | {"image_std": [1]}))
    with pytest.raises(UserError, match=r"preprocessor_config.json.image_std=\[1\] must be 3 num"):
        read_hf(target)
    (target / "preprocessor_config.json").write_text(json.dumps(content | {"do_normalize": False}))
    assert read_hf(target).config["frontend"]["std"] == (1.0, 1.0, 1.0)


def test_letters_of_a_ctc_model(copy):
    target = copy("hf_audio_ctc", {"pad_token_id": 3})
    (target / "vocab.json").write_text(json.dumps({"<pad>": 3, "A": 31, "|": 4}))
    head = read_hf(target).head
    assert head["kind"] == "ctc" and head["blank"] == 3
    assert len(head["labels"]) == 32 and (head["labels"][31], head["labels"][0]) == ("A", "")
    assert read_hf(folder("hf_audio_ctc")).head["labels"] is None
    (target / "vocab.json").write_text(json.dumps({"A": 32}))
    with pytest.raises(UserError, match="vocab.json has a label beyond vocab_size=32"):
        read_hf(target)


def test_masked_language_head_is_set_aside(copy):
    extra = {
        "lm_head.bias": np.zeros(99, np.float32),
        "lm_head.dense.weight": np.zeros((32, 32), np.float32),
        "embeddings.position_ids": np.arange(66)[None],
    }
    model = read_hf(copy("hf_text", {"architectures": ["Data2VecTextForMaskedLM"]}, extra))
    assert model.head["kind"] == "text_pooler"
    aside = [key for ours, key, _ in model.report if ours == SET_ASIDE]
    assert aside == ["lm_head.bias", "lm_head.dense.weight"]


def test_text_without_pooler_and_of_two_types(copy):
    types = np.arange(64, dtype=np.float32).reshape(2, 32)
    drop = ("pooler.dense.weight", "pooler.dense.bias")
    weights = {"embeddings.token_type_embeddings.weight": types}
    model = read_hf(copy("hf_text", {"type_vocab_size": 2}, weights, drop))
    assert model.head is None
    words = flat_of("hf_text")["embeddings.word_embeddings.weight"]
    table = model.student["frontend"]["tokens"]["embedding"]
    np.testing.assert_array_equal(table, words + types[0])


def test_unknown_class_name_is_read_by_its_keys(copy):
    model = read_hf(copy("hf_audio_ctc", {"architectures": ["Data2VecForSpeech"]}))
    assert model.head["kind"] == "ctc"


# --- other containers -------------------------------------------------------------------------


def same_trees(one, other):
    ours, theirs = dict(trees.leaves(one)), dict(trees.leaves(other))
    assert ours.keys() == theirs.keys()
    for path, leaf in ours.items():
        np.testing.assert_array_equal(leaf, theirs[path])


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_shards(copy, name):
    target = copy("hf_text_cls")
    flat = load_file(target / "model.safetensors")
    (target / "model.safetensors").unlink()
    parts = {f"part-{i}-{name}": {k: flat[k] for k in sorted(flat)[i::2]} for i in range(2)}
    for part, content in parts.items():
        if name.endswith("bin"):
            zip_file(target / part, content)
        else:
            save_file(content, target / part)
    places = {key: part for part, content in parts.items() for key in content}
    index = target / f"{name}.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    same_trees(read_hf(target).student, read_hf(folder("hf_text_cls")).student)

    index.write_text(json.dumps({"weight_map": places | {"more": f"part-0-{name}"}}))
    with pytest.raises(UserError, match="lacks more, which .*index.json places there"):
        read_hf(target)
    index.write_text(json.dumps({"weight_map": {"a": "../other"}}))
    with pytest.raises(UserError, match=r"outside the folder, in ../other"):
        read_hf(target)
    index.write_text(json.dumps({"weight_map": {"a": "part-7"}}))
    with pytest.raises(UserError, match="lacks the shard part-7"):
        read_hf(target)
    index.write_text("{}")
    with pytest.raises(UserError, match="has no weight_map"):
        read_hf(target)


def test_torch_weights_in_half_precision(copy):
    target = copy("hf_audio_ctc")
    flat = load_file(target / "model.safetensors")
    (target / "model.safetensors").unlink()
    zip_file(target / "pytorch_model.bin", {k: v.astype(np.float16) for k, v in flat.items()})
    theirs = flat["lm_head.bias"].astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(read_hf(target).head["params"]["out"]["bias"], theirs)


def test_bfloat16(copy):
    value = flat_of("hf_audio")[Q].astype(ml_dtypes.bfloat16)
    kernel = read_hf(copy("hf_audio", weights={Q: value})).student["trunk"]["block_01"]
    theirs = keymap.out_in(value).astype(np.float32)
    np.testing.assert_array_equal(kernel["attention"]["qkv"]["kernel"][:, :32], theirs)


# --- refused ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("case", "fields", "message"),
    [
        ("hf_audio", {"model_type": "wavlm"}, "model_type='wavlm'; only data2vec models"),
        ("hf_audio", {"model_type": "d2v", "format": "d2v_jax"}, "a folder of d2v_jax"),
        (
            "hf_audio",
            {"architectures": ["Data2VecAudioForSequenceClassification"]},
            "ForSequenceClassification.*of a v1_audio model, only Data2VecAudioModel, ",
        ),
        ("hf_audio", {"architectures": ["Data2VecAudioForAudioFrameClassification"]}, "FrameClass"),
        ("hf_audio", {"architectures": ["Data2VecTextModel"]}, "Data2VecTextModel.*v1_audio"),
        ("hf_audio", {"architectures": ["Data2VecAudioForCTC"]}, "missing: lm_head.weight, lm_h"),
        ("hf_text", {"architectures": ["Data2VecTextForCausalLM"]}, "ForCausalLM"),
        ("hf_text", {"is_decoder": True}, "config.json.is_decoder=True: our model only knows Fal"),
        ("hf_audio", {"add_adapter": True}, "config.json.add_adapter=True"),
        ("hf_audio", {"conv_bias": True}, "config.json.conv_bias=True"),
        ("hf_audio", {"hidden_act": "relu"}, "config.json.hidden_act='relu'"),
        ("hf_audio", {"conv_dim": [16] * 6}, "differ in length"),
        ("hf_audio", {"conv_dim": "16"}, "conv_dim='16' must be a list"),
        ("hf_audio", {"num_attention_heads": 5}, "hidden_size=32 is no multiple of 5 heads"),
        ("hf_audio", {"num_conv_pos_embedding_groups": 5}, "num_conv_pos_embedding_groups=5"),
        ("hf_audio", {"hidden_size": 48}, "of another shape: "),
        ("hf_audio", {"num_hidden_layers": 4}, "16 missing: encoder.layers.3.attention"),
        ("hf_audio", {"num_hidden_layers": 2}, "16 left over: encoder.layers.2.attention"),
        ("hf_audio", {"layer_norm_eps": "1e-5"}, "layer_norm_eps='1e-5' must be a number"),
        ("hf_vision", {"use_absolute_position_embeddings": True}, "absolute_position_embeddings=T"),
        ("hf_vision", {"use_relative_position_bias": True}, "both on"),
        ("hf_vision", {"image_size": [64, 32]}, r"image_size=\[64, 32\]: our images .* square"),
        ("hf_vision_cls", {"id2label": {"1": "a"}}, "id2label must name the outputs 0, 1"),
        ("hf_vision_cls", {"id2label": {"0": "a"}}, "of another shape: classifier.weight is"),
        ("hf_text", {"vocab_size": "many"}, "vocab_size='many' must be a number"),
    ],
)
def test_refused_fields(copy, case, fields, message):
    with pytest.raises(UserError, match=message) as caught:
        read_hf(copy(case, fields))
    assert case in str(caught.value)  # the folder is named


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({Q: np.full((32, 32), np.nan, np.float32)}, f"NaN or infinite.*{Q}"),
        ({Q: np.zeros((32, 32), np.int32)}, f"not floating point: {Q} is int32"),
        ({Q: np.zeros((32, 31), np.float32)}, rf"another shape: {Q} is \(32, 31\), expected"),
        ({"adapter.proj.weight": np.zeros(3, np.float32)}, "left over: adapter.proj.weight"),
    ],
)
def test_refused_weights(copy, weights, message):
    with pytest.raises(UserError, match=message):
        read_hf(copy("hf_audio", weights=weights))


def test_refused_folders(tmp_path, copy):
    with pytest.raises(UserError, match="there is no folder .*nowhere; download"):
        read_hf(tmp_path / "nowhere")
    target = copy("hf_audio")
    with pytest.raises(UserError, match="is a file; give the folder"):
        read_hf(target / "config.json")
    (target / "config.json").write_text("[")
    with pytest.raises(UserError, match="config.json is not JSON"):
        read_hf(target)
    (target / "config.json").write_text("[]")
    with pytest.raises(UserError, match="config.json holds a list"):
        read_hf(target)
    (target / "config.json").unlink()
    with pytest.raises(UserError, match="config.json cannot be read: No such file"):
        read_hf(target)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda data: data[:-100], "damaged or not a safetensors file"),
        (lambda data: data[:20], "damaged or not a safetensors file"),
        (lambda data: b"", "it is empty"),
        (lambda data: b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (lambda data: b"<!DOCTYPE html>" + b" " * 99, "it is a web page"),
    ],
)
def test_damaged_weights(copy, spoil, message):
    target = copy("hf_audio")
    weights = target / "model.safetensors"
    weights.write_bytes(spoil(weights.read_bytes()))
    with pytest.raises(UserError, match=f"model.safetensors is damaged.*{message}|{message}"):
        read_hf(target)
    weights.unlink()
    with pytest.raises(UserError, match="has no weights: neither model.safetensors"):
        read_hf(target)
