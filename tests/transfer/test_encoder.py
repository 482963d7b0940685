"""Features in Python: of each input alone, whatever it comes with; and what is refused."""

import dataclasses
import logging
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from recorded import AUDIO, CASES, GOLDEN, checkpoint, examples

import d2v_jax as d2v
from d2v_jax.common.checks import UserError
from d2v_jax.data.audio.waves import standardise
from d2v_jax.data2vec.model import Model
from d2v_jax.frontends.audio import frame_count
from d2v_jax.frontends.frontend import Inputs
from d2v_jax.transfer.convert import convert


def close(a, b, share=1e-5):
    np.testing.assert_allclose(a, b, rtol=0, atol=share * np.abs(b).max())


def with_fields(one, section, **fields):
    """The same encoder with other fields in a section of its recipe."""
    changed = dataclasses.replace(getattr(one.recipe, section), **fields)
    return dataclasses.replace(one, recipe=dataclasses.replace(one.recipe, **{section: changed}))


@pytest.mark.parametrize("case", CASES)
def test_neither_neighbours_nor_order_matter(load, case):
    one = load(case)
    inputs = examples(one, 11)
    whole = one.features(inputs)
    assert whole.dtype == np.float32 and whole.shape == (11, one.config.trunk.width)
    assert np.isfinite(whole).all() and len(np.unique(whole[:, 0])) >= 9
    np.testing.assert_array_equal(one.features(inputs[::-1])[::-1], whole)
    for i in (0, 3, 9):
        np.testing.assert_array_equal(one.features(inputs[i : i + 1])[0], whole[i])


@pytest.mark.parametrize("case", CASES)
def test_huge_finite_weights_are_named(load, case):
    one = load(case)
    huge = jax.tree.map(lambda leaf: leaf, one.params)
    path, leaf = jax.tree_util.tree_flatten_with_path(huge["trunk"])[0][-1]
    huge = jax.tree.map(lambda x: np.full_like(x, 3e38) if x is leaf else x, huge)
    del path
    with pytest.raises(UserError, match=r"example \d+: .*up to 3e\+38 \(in trunk.*earlier"):
        dataclasses.replace(one, params=huge).features(examples(one))


@pytest.mark.parametrize("case", CASES)
def test_pooled_is_the_mean_of_all_tokens(load, case):
    one = load(case)
    inputs = examples(one)
    frames = one.features(inputs, pool=None)
    match one.recipe.modality:
        case "image":
            assert frames.shape[1] == math.prod(one.config.frontend.grid)
        case "audio":
            layers = one.config.frontend.conv_layers
            assert [len(x) for x in frames] == [frame_count(len(x), layers) for x in inputs]
        case _:
            assert [len(x) for x in frames] == [len(x) for x in inputs]
    for tokens, pooled in zip(frames, one.features(inputs), strict=True):
        close(tokens.mean(0), pooled)


def test_layers(load):
    one = load("v1_vision")
    inputs, depth = examples(one), one.config.trunk.depth
    each = [one.features(inputs, layer=number) for number in range(depth)]
    close(one.features(inputs, layer="all"), np.concatenate(each, 1))
    close(one.features(inputs, layer="average"), np.mean(each, 0))
    np.testing.assert_array_equal(one.features(inputs, layer=str(depth - 1)), each[-1])
    assert np.abs(one.features(inputs) - each[-1]).max() > 1e-3  # behind the output's norm
    for wrong in (-1, depth, "first", 1.5, None):
        with pytest.raises(UserError, match=f"block number from 0 to {depth - 1}"):
            one.features(inputs, layer=wrong)
    with pytest.raises(UserError, match="pool='max'"):
        one.features(inputs, pool="max")
    plain = load("v2_image")
    inputs = examples(plain)
    np.testing.assert_array_equal(plain.features(inputs, layer=2), plain.features(inputs))


@pytest.mark.parametrize("case", CASES)
def test_the_teacher_has_features_of_its_own(load, case):
    one = load(case)
    taught = one.as_teacher()
    assert np.abs(taught.features(examples(one)) - one.features(examples(one))).max() > 1e-4
    for part, tree in one.params.items():
        assert taught.params[part] is one.teacher.get(part, tree)


@pytest.mark.parametrize("case", AUDIO)
def test_waves_are_as_if_never_padded(load, case):
    recorded = np.load(GOLDEN / case / "arrays.npz")
    source = recorded["input/source"]  # shorter than any batch of ours
    frames = load(case).features(source, pool=None, standardise=False)
    close(np.stack(frames), recorded["features/nopad/x"])


@pytest.mark.parametrize("case", AUDIO)
def test_padding_as_the_original_has_it(load, case):
    one, original = load(case), d2v.load(checkpoint(case), padding="original")
    assert original.recipe.objective.cfg.positions.zero_padding != "each_layer"
    recorded = np.load(GOLDEN / case / "arrays.npz")
    source, lengths = recorded["input/source"], (~recorded["input/padding_mask"]).sum(1)
    inputs = Inputs(jnp.asarray(source), jnp.asarray(lengths, jnp.int32))
    model = Model(original.config)
    encode = jax.jit(lambda params: model.contextualize(params, model.tokens(params, inputs)))
    encoded = encode(original.params)
    theirs, valid = recorded["features/pad/x"], ~np.asarray(encoded.padding_nt)
    close(np.asarray(encoded.out)[valid], theirs[valid])
    short = int(np.argmin(lengths))
    assert lengths[short] < source.shape[1]
    [alone] = one.features([source[short, : lengths[short]]], pool=None, standardise=False)
    assert np.abs(alone - theirs[short][valid[short]]).max() > 1e-2
    with pytest.raises(UserError, match="padding='none' is not one of independent, original"):
        d2v.load(checkpoint(case), padding="none")


def test_waves_of_any_kind(load):
    one = load("v2_audio")
    wave_s = np.random.default_rng(0).integers(-3000, 3000, 5000).astype(np.int16)
    found = one.features([wave_s])
    close(one.features([wave_s.astype(np.float32) / 32768]), found)
    np.testing.assert_array_equal(one.features(wave_s[None]), found)
    np.testing.assert_array_equal(one.features(jnp.asarray(wave_s)[None]), found)
    np.testing.assert_array_equal(one.features([standardise(wave_s)], standardise=False), found)
    assert np.abs(one.features([wave_s / 32768], standardise=False) - found).max() > 1e-3
    assert np.isfinite(one.features([np.zeros(400)])).all()


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ([], "nothing to encode"),
        ("wave.wav", "inputs are a str"),
        (3.0, "inputs are a float"),
        (np.float32(3), "inputs are a float32|single number"),
        (np.zeros(5000), "wave 0 is float64 \\[\\]; give a list of waves"),
        ([np.zeros(399)], "wave 0 has 399 samples; one frame needs 400"),
        ([np.zeros(500), np.zeros((2, 500))], "wave 1 is float64 \\[2, 500\\]"),
        ([np.zeros(500, np.int32)], "of the integers only int16"),
        ([np.r_[np.zeros(500), np.nan]], "wave 0 holds NaN"),
        (["a.wav"], "wave 0 is <U5"),
    ],
)
def test_waves_that_are_refused(load, inputs, words):
    with pytest.raises(UserError, match=words):
        load("v2_audio").features(inputs)


def test_images_of_any_kind(load):
    one = load("v2_image")
    images = examples(one)
    found = one.features(images)
    for same in (np.stack(images), tuple(images), jnp.asarray(np.stack(images))):
        np.testing.assert_array_equal(one.features(same), found)
    for wrong, words in (
        (images[0], "images of shape \\(64, 64, 3\\) do not fit this encoder; it takes \\[b, 64"),
        ([images[0], images[1][:32]], "the images differ in shape"),
        ([image[:, :, :1] for image in images], "do not fit"),
        ([image / 255 for image in images], "images are float64; give uint8"),
    ):
        with pytest.raises(UserError, match=words):
            one.features(wrong)


def test_texts_of_any_kind(load):
    one = load("v1_text")
    ids = [np.array([0, 9, 5, 2]), np.array([0, 70, 2], np.uint16)]
    found = one.features(ids)
    padded = np.array([[0, 9, 5, 2, 1, 1], [0, 70, 2, 1, 1, 1]])
    np.testing.assert_array_equal(one.features(padded), found)
    assert [len(x) for x in one.features(padded, pool=None)] == [4, 3]
    most = one.config.frontend.max_tokens
    for wrong, words in (
        ([[0, 99]], "ids from 0 to 99; this encoder knows 0 to 98"),
        ([[0, -1]], "ids from -1"),
        ([[0.0, 1.0]], "text 0 is neither"),
        ([[]], "text 0 is neither"),
        ([[1, 1]], "padding \\(id 1\\) before its end"),
        ([[0, 1, 5]], "padding \\(id 1\\) before its end"),
        ([[5] * (most + 1)], f"{most + 1} tokens, this encoder's positions end at {most}"),
        (["words"], "data.tokenizer='gpt2': there is no such folder"),
    ):
        with pytest.raises(UserError, match=words):
            one.features(wrong)
    with pytest.raises(UserError, match="'bytes' has 261 ids, this encoder 99"):
        with_fields(one, "data", tokenizer="bytes").features(["words"])


def test_strings(letters):
    found = letters.features(["a\n\n b ", "c"])
    ids = [[0, 97 + 4, 2, 98 + 4, 2], [0, 99 + 4, 2]]
    np.testing.assert_array_equal(letters.features(ids), found)
    with pytest.raises(UserError, match="text 1 is empty"):
        letters.features(["a", " \n "])


def test_logits_of_a_classifier_of_text(load):
    one = load("hf_text_cls")
    recorded = np.load(GOLDEN / "hf_text_cls" / "arrays.npz")
    for prefix in ("pad/", "nopad/"):
        name = prefix + "input_ids" if prefix + "input_ids" in recorded else "input/input_ids"
        close(one.logits(recorded[name]), recorded[prefix + "logits"], 1e-4)
    with pytest.raises(UserError, match="has no head"):
        load("v1_text").logits([[0, 2]])


def test_logits_of_letters(load):
    one = load("hf_audio_ctc")
    recorded = np.load(GOLDEN / "hf_audio_ctc" / "arrays.npz")
    waves = recorded["input/input_values"]
    found = one.logits(waves, standardise=False)
    close(np.stack(found), recorded["nopad/logits"], 1e-4)
    np.testing.assert_array_equal(one.logits(waves[1:], standardise=False)[0], found[1])
    short = one.logits([waves[0][:5000]])[0]
    assert len(short) == frame_count(5000, one.config.frontend.conv_layers)


@pytest.mark.parametrize("case", ["hf_vision_cls", "hf_text"])
def test_logits_do_not_depend_on_neighbours(load, case):
    one = load(case)
    inputs = examples(one, 9)
    whole = one.logits(inputs)
    np.testing.assert_array_equal(one.logits(inputs[8:]), whole[8:])
    np.testing.assert_array_equal(one.logits(inputs[::-1])[::-1], whole)


def test_loading_says_nothing(letters, tmp_path, capfd):
    letters.save(tmp_path / "saved")
    convert(tmp_path / "saved", tmp_path / "run")
    capfd.readouterr()
    level = logging.getLogger("absl").level
    d2v.load(tmp_path / "run")
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger("absl").level == level


def test_saved_and_opened_again(letters, tmp_path):
    letters.save(tmp_path / "a")
    letters.save(tmp_path / "a")  # its own folder may be replaced
    again = d2v.load(tmp_path / "a")
    assert again.recipe == letters.recipe
    np.testing.assert_array_equal(again.features(["abc"]), letters.features(["abc"]))
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="something other than a saved encoder"):
        letters.save(tmp_path / "b")
    with pytest.raises(UserError, match="is a file"):
        letters.save(tmp_path / "b" / "notes.txt")
    broken = {**letters.params, "decoder": {"proj_00": letters.params["decoder"]["proj_00"]}}
    dataclasses.replace(letters, params=broken).save(tmp_path / "c")
    with pytest.raises(UserError, match="do not fit its own recipe") as error:
        d2v.load(tmp_path / "c")
    assert "missing decoder/" in str(error.value)
