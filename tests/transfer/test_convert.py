"""From any format into any other and back without a changed number; no half folder is left."""

import errno
import shutil

import numpy as np
import pytest
from recorded import CASES, checkpoint, examples

import d2v_jax as d2v
from d2v_jax.common import trees
from d2v_jax.common.checks import UserError
from d2v_jax.interop.ours import safetensors_io
from d2v_jax.transfer import convert, encoder, reading

ONES = ("v1_audio", "v1_text", "v1_vision")
HEADS = ("hf_audio_ctc", "hf_text", "hf_text_cls", "hf_vision_cls")


def same(a, b):
    assert reading.largest_difference(a, b) == 0


@pytest.mark.parametrize("case", CASES)
def test_run_safetensors_run(load, tmp_path, case):
    one = load(case)
    inputs = examples(one, 3)
    places = [checkpoint(case), *(tmp_path / name for name in "abc")]
    reports = [
        convert.convert(places[i], places[i + 1], to)
        for i, to in enumerate(("run", "safetensors", "run"))
    ]
    first = reading.read(places[0])
    for place, report in zip(places[1:], reports, strict=True):
        assert "largest difference after reading them back: 0" in report
        got = reading.read(place)
        same(got.params, first.params)
        same(got.carried, first.carried)
        assert got.recipe == first.recipe and got.system == first.system and got.head is None
        again = encoder.of(got)
        np.testing.assert_array_equal(again.features(inputs), one.features(inputs))
    taught = again.as_teacher().features(inputs)
    np.testing.assert_array_equal(taught, one.as_teacher().features(inputs))
    check_rows(reports[0].splitlines(), got, copies=case in ("v1_audio", "v1_text"))


def check_rows(lines, kept, copies):
    """The report has a row for everything that is kept, and marks what is not."""
    assert lines[0].split() == ["ours", "shape", "theirs"]
    shapes = {}
    for name, tree in (("student", kept.params), ("teacher", kept.carried)):
        shapes |= {f"{name}/{path}": leaf.shape for path, leaf in trees.leaves(tree)}
    said = [line.split("  ") for line in lines[1:] if "/" in line and " -> " not in line]
    rows = {row[0]: next(word for word in row[1:] if word).strip() for row in said}
    marked = {path for path in rows if path.startswith("(copy) ")}
    assert set(rows) - marked == set(shapes)
    assert all(rows[path] == "x".join(map(str, shape)) for path, shape in shapes.items())
    assert bool(marked) == copies == any(line.startswith("(copy): ") for line in lines)
    if copies:
        assert any(line.endswith("self_attn.{q,k,v}_proj.bias") for line in lines)


@pytest.mark.parametrize("case", ONES)
def test_hugging_face_and_back(load, tmp_path, case):
    one = load(case)
    inputs = examples(one, 3)
    report = convert.convert(checkpoint(case), tmp_path / "hf", "hf")
    assert "decoder/proj_00/kernel, " in report and "the teacher" in report.splitlines()[-2]
    report = convert.convert(tmp_path / "hf", tmp_path / "run")
    assert "no teacher" in report and "largest difference after reading them back: 0" in report
    for place in ("hf", "run"):
        again = d2v.load(tmp_path / place)
        same(again.params, {part: x for part, x in one.params.items() if part != "decoder"})
        np.testing.assert_array_equal(again.features(inputs), one.features(inputs))


@pytest.mark.parametrize("case", HEADS)
def test_heads_come_along(load, tmp_path, case):
    one = load(case)
    inputs = examples(one, 3)
    places = [checkpoint(case), *(tmp_path / name for name in "abc")]
    for i, to in enumerate(("run", "safetensors", "hf")):
        report = convert.convert(places[i], places[i + 1], to)
        assert f"of a {one.head['kind']} head" in report
        again = d2v.load(places[i + 1])
        same(again.head["params"], one.head["params"])
        assert again.head["kind"] == one.head["kind"]
        for a, b in zip(again.logits(inputs), one.logits(inputs), strict=True):
            np.testing.assert_array_equal(a, b)


def test_data2vec_2_has_no_place_at_hugging_face(tmp_path):
    with pytest.raises(UserError, match="no Hugging Face class for a v2_text model"):
        convert.convert(checkpoint("v2_text"), tmp_path / "hf", "hf")
    assert not list(tmp_path.iterdir())


def test_where_it_cannot_go(tmp_path):
    source = checkpoint("v2_text")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    for out, words in (
        ("file", "is a file; name a new folder"),
        ("full", "is not empty"),
        ("file/new", "cannot be written: .*Not a directory"),
    ):
        for to in ("run", "safetensors"):
            with pytest.raises(UserError, match=words):
                convert.convert(source, tmp_path / out, to)
    assert (tmp_path / "file").read_text() == (tmp_path / "full" / "mine").read_text() == "mine"
    with pytest.raises(UserError, match="--to 'onnx' is not one of run, safetensors, hf"):
        convert.convert(source, tmp_path / "x", "onnx")


@pytest.mark.parametrize("empty", [False, True])
@pytest.mark.parametrize("trouble", [OSError(errno.ENOSPC, "No space left"), KeyboardInterrupt()])
def test_nothing_is_left_of_a_failure(tmp_path, monkeypatch, trouble, empty):
    def full(folder, *_):
        (folder / "inside").mkdir(parents=True)
        (folder / "inside" / "half").write_text("half")
        raise trouble

    monkeypatch.setattr(safetensors_io, "save", full)
    if empty:
        (tmp_path / "out").mkdir()
    kind = UserError if isinstance(trouble, OSError) else KeyboardInterrupt
    with pytest.raises(kind, match="^$|out cannot be written: No space"):
        convert.convert(checkpoint("v2_text"), tmp_path / "out", "safetensors")
    assert not (tmp_path / "out").exists()


def test_a_tokenizer_beside_the_weights_is_used(tmp_path):
    folder = tmp_path / "hf"
    shutil.copytree(checkpoint("hf_text"), folder)
    types = ["<s>", "<pad>", "</s>", "<unk>", *"ab"]
    types += [f"x{i}" for i in range(98 - len(types))] + ["<mask>"]
    vocabulary = ", ".join(f'"{name}": {i}' for i, name in enumerate(types))
    (folder / "vocab.json").write_text(f"{{{vocabulary}}}")
    (folder / "merges.txt").write_text("#version: 0.2\n")
    one = d2v.load(folder)
    np.testing.assert_array_equal(one.features(["ab"]), one.features([[0, 4, 5, 2]]))
    convert.convert(folder, tmp_path / "run")
    np.testing.assert_array_equal(d2v.load(tmp_path / "run").features(["ab"]), one.features(["ab"]))
    convert.convert(tmp_path / "run", tmp_path / "there", "hf")
    assert (tmp_path / "there" / "tokenizer.json").is_file()
    again = d2v.load(tmp_path / "there")
    np.testing.assert_array_equal(again.features(["ab"]), one.features(["ab"]))


def test_a_tokenizer_that_is_not_there_is_named(tmp_path, caplog):
    convert.convert(checkpoint("v1_text"), tmp_path / "hf", "hf")
    assert "no tokenizer is written (data.tokenizer=" in caplog.text
    assert not (tmp_path / "hf" / "tokenizer.json").exists()
