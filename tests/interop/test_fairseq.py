"""Pre-trained checkpoints of all six systems become our trees, and lead back."""

import json

import jax
import ml_dtypes
import numpy as np
import pytest
from cases import (
    GOLDEN,
    SYSTEMS,
    arrays,
    checkpoint,
    imported,
    load,
    same,
    shapes,
    student,
    teacher,
)
from places import PLACES
from torch_files import Ops

from d2v_jax.common import trees
from d2v_jax.common.checks import UserError
from d2v_jax.interop import keymap
from d2v_jax.interop.fairseq import reader
from d2v_jax.interop.pickles.inert import UnsafeCheckpoint
from d2v_jax.train.recipe.resolve import resolve

CASES = pytest.mark.parametrize("case", SYSTEMS)
# Keys of theirs that are no parameters of ours.
NO_PARAMETERS = ("positions", "version", "relative_position_index")
COPIES = {"v1_audio": ["positions"], "v1_text": ["frontend"]}


@pytest.fixture(scope="module", params=SYSTEMS)
def both(request):
    """(case, imported)."""
    return request.param, imported(request.param)


def fresh(config):
    """The shapes of our own model of these fields."""
    resolved = resolve(config)
    shape = resolved.data.example_shape
    init = lambda key: resolved.objective.init(key, shape)
    return jax.eval_shape(init, jax.random.key(0))


def test_the_tree_is_our_models(both):
    case, got = both
    ours = fresh(got.config)
    assert got.system == SYSTEMS[case][0] and got.head is None
    assert shapes(got.student) == shapes(ours)
    owned = {part: ours[part] for part in got.config["teacher"]["owns"]}
    assert shapes(got.teacher) == shapes(owned)
    assert list(got.copies) == COPIES.get(case, [])
    assert shapes(got.copies) == shapes({part: ours[part] for part in got.copies})
    for tree in (got.student, got.teacher, got.copies):
        for _, leaf in trees.leaves(tree):
            assert leaf.dtype == np.float32 and leaf.flags.owndata and leaf.flags.c_contiguous


def test_every_number_is_taken_once(both):
    case, got = both
    content = checkpoint(case)
    counts = json.loads((GOLDEN / case / "config.json").read_text())
    flat, ema = student(content), teacher(case, content)
    # They count the fixed positions as parameters; for us they are constants.
    constants = sum(v.size for k, v in flat.items() if k.endswith("encoder.positions"))
    assert trees.count(got.student) + constants == counts["n_params_student"]
    theirs = flat | {f"{SYSTEMS[case][1]}.{k}": v for k, v in ema.items()}
    taken = [key for _, keys, _ in got.report for key in keys.split(" + ")]
    assert sorted(taken) == sorted(k for k in theirs if not k.endswith(NO_PARAMETERS))
    leaves = dict(
        trees.leaves({"student": got.student, "teacher": got.teacher, "copy": got.copies})
    )
    for ours, keys, shape in got.report:
        assert leaves[ours].shape == shape
        parts = [theirs[key].ravel() for key in keys.split(" + ")]
        np.testing.assert_array_equal(np.sort(leaves[ours], None), np.sort(np.concatenate(parts)))


def test_the_way_back(both):
    case, got = both
    flat = keymap.invert(got.student, got.layout.student, got.layout.student_constants)
    theirs = student(checkpoint(case))
    assert {k for k in theirs if k not in flat} == {
        k for k in theirs if k.endswith(NO_PARAMETERS[1:])
    }
    for key, value in flat.items():
        assert value.flags.c_contiguous and value.dtype == np.float32
        exact = np.testing.assert_array_equal
        (np.testing.assert_allclose if key.endswith("encoder.positions") else exact)(
            value, theirs[key]
        )
    ema = keymap.invert({**got.teacher, **got.copies}, [*got.layout.teacher, *got.layout.copies])
    theirs = teacher(case, checkpoint(case))
    assert {k for k in theirs if not k.endswith(NO_PARAMETERS)} == set(ema)
    for key, value in ema.items():
        np.testing.assert_array_equal(value, theirs[key])


def test_gradients_and_moved_teacher_convert_alike(both):
    case, got = both
    assert shapes(got.convert_student(arrays(case, "grad/"))) == shapes(got.student)
    moved = got.convert_teacher(arrays(case, "ema_after/"))
    assert shapes(moved) == shapes({**got.teacher, **got.copies})
    same(got.convert_student(student(checkpoint(case))), got.student)


def test_layouts(both):
    case, got = both
    flat, leaves = student(checkpoint(case)), dict(trees.leaves(got.student))
    for ours, here, theirs, there in PLACES[case]:
        assert leaves[ours][here] == flat[theirs][there], ours


def test_the_teacher_is_theirs(both):
    """Student and teacher never coincide in these files."""
    case, got = both
    ema, leaves = teacher(case, checkpoint(case)), dict(trees.leaves(got.teacher))
    key = next(k for k in ema if k.endswith("2.fc1.weight") or k.endswith("2.mlp.fc1.weight"))
    assert leaves["trunk/block_02/mlp/fc1/kernel"][3, 9] == ema[key][9, 3]
    assert not np.array_equal(
        leaves["trunk/block_02/mlp/fc1/kernel"],
        dict(trees.leaves(got.student))["trunk/block_02/mlp/fc1/kernel"],
    )


# --- weights that do not fit -----------------------------------------------------------------


def spoilt(array, index, value):
    copy = array.copy()
    copy.flat[index] = value
    return copy


def a_key(flat):
    """A square matrix of the trunk."""
    return next(k for k in flat if k.endswith(("1.attn.proj.weight", "1.self_attn.q_proj.weight")))


@CASES
@pytest.mark.parametrize("whose", ["student", "teacher"])
def test_problems_are_listed_at_once(tmp_path, case, whose):
    content = checkpoint(case)
    flat = content["model"] if whose == "student" else teacher(case, content)
    key = a_key(flat)
    missing = key.replace("weight", "bias")
    del flat[missing]
    flat["surplus"] = flat[key]
    flat[key] = flat[key][:, :5].copy()
    where = "" if whose == "student" else f"{SYSTEMS[case][1]}."
    with pytest.raises(UserError) as error:
        load(tmp_path, content)
    message = str(error.value)
    assert message.startswith(f"{tmp_path / 'f.pt'}: the {whose} does not fit our model")
    assert f"1 missing: {where}{missing}\n" in message
    assert f"1 of another shape: {where}{key} is " in message
    assert f"1 left over: {where}surplus" in message


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda x: x.T.copy()[:5], r"is \(5, 32\), expected \(32, 32\)"),
        (lambda x: spoilt(x, 5, np.nan), r"not finite \(NaN or infinite\): "),
        (lambda x: spoilt(x, 5, np.inf), r"not finite \(NaN or infinite\): "),
        (lambda x: x.astype(np.float64) * 1e300, r"not finite \(NaN or infinite\): "),
        (lambda x: np.ones(x.shape, np.int64), "is int64"),
        (lambda x: [1.0], "is a list"),
    ],
)
@pytest.mark.parametrize("case", ["v1_text", "v1_vision", "v2_image"])
def test_spoilt_arrays_are_named(tmp_path, case, change, words):
    content = checkpoint(case)
    key = a_key(content["model"])
    content["model"][key] = change(content["model"][key])
    with pytest.raises(UserError, match=words) as error:
        load(tmp_path, content)
    assert key in str(error.value)


def test_long_lists_are_cut(tmp_path):
    content = checkpoint("v2_image")
    positions = next(k for k in content["model"] if k.endswith("positions"))
    with pytest.raises(UserError, match=r"and \d+ more") as error:
        load(tmp_path, content | {"model": {k: content["model"][k] for k in (positions,)}})
    assert str(error.value).count("weight") <= keymap.SHOWN
    content["model"][positions] = spoilt(content["model"][positions], 9, 0.5)
    with pytest.raises(UserError, match=f"not what we compute ourselves: {positions}"):
        load(tmp_path, content)


@pytest.mark.parametrize("case", ["v1_audio", "v1_vision", "v2_text"])
@pytest.mark.parametrize("dtype", [np.float16, np.float64, ml_dtypes.bfloat16])
def test_precisions_become_float32(tmp_path, case, dtype):
    content = checkpoint(case)
    for key, value in student(content).items():
        if value.dtype == np.float32:
            content["model"][key] = value.astype(dtype)
    got, exact = load(tmp_path, content), imported(case)
    for (_, a), (_, b) in zip(trees.leaves(got.student), trees.leaves(exact.student), strict=True):
        assert a.dtype == np.float32
        np.testing.assert_allclose(a, b, rtol=4 * float(ml_dtypes.finfo(dtype).eps), atol=1e-6)


@CASES
def test_no_teacher(tmp_path, case):
    content = checkpoint(case)
    content.pop("model_ema", None)
    content["model"] = student(content)
    got = load(tmp_path, content)
    assert got.teacher is None and got.copies == {} and got.head is None
    assert all(ours.startswith("student/") for ours, _, _ in got.report)


# --- other files -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value, words",
    [
        ({}, "no entry 'model' .it has: nothing"),
        ({"weights": {}}, "no entry 'model' .it has: weights"),
        ({"state_dict": {}}, r"no data2vec model: its keys are of no known kind \(first: none\)"),
        ({"model": [1]}, "model is a list, not a dict"),
        ({"module": None}, "module is a NoneType, not a dict"),
        ({"model": {}}, r"no data2vec model: its keys are of no known kind \(first: none\)"),
        ({"model": {"backbone.weight": 1}}, r"no known kind \(first: backbone.weight\)"),
        ({"model": {3: 1}}, "model has a int for a key"),
    ],
)
def test_no_model_inside(tmp_path, value, words):
    with pytest.raises(UserError, match=words):
        load(tmp_path, value)


def test_broken_teachers(tmp_path):
    content = checkpoint("v2_audio")
    content["model"]["_ema"] = []
    with pytest.raises(UserError, match=r"model\['_ema'\] is a list"):
        load(tmp_path, content)
    content["model"]["_ema"] = {3: 1}
    with pytest.raises(UserError, match=r"model\['_ema'\] has a int for a key"):
        load(tmp_path, content)
    content = checkpoint("v1_text")
    content["model"]["_ema"] = content["model"].pop("encoder._ema")
    with pytest.raises(UserError, match="keeps teachers as _ema, where a v1_text model"):
        load(tmp_path, content)
    content = checkpoint("v1_vision")
    content["model"]["_ema"] = content.pop("model_ema")
    with pytest.raises(UserError, match="has a teacher '_ema' that no published model has"):
        load(tmp_path, content)


def test_several_models_at_once(tmp_path):
    content = checkpoint("v2_audio")
    content["model"] |= student(checkpoint("v2_text"))
    with pytest.raises(UserError, match=r"several models \(v2_audio, v2_text\)"):
        load(tmp_path, content)


@pytest.mark.parametrize("case", [case for case in SYSTEMS if case != "v1_vision"])
def test_no_configuration_inside(tmp_path, case):
    if case != "v2_audio":  # whose weights tell the number of heads
        with pytest.raises(UserError, match="carries neither 'cfg' nor 'args'"):
            load(tmp_path, checkpoint(case) | {"cfg": None})
    with pytest.raises(UserError, match=r"cfg should be a group of fields, but is 'x'"):
        load(tmp_path, checkpoint(case) | {"cfg": "x"})
    with pytest.raises(UserError, match=r"cfg\.model should be a group of fields, but is None"):
        load(tmp_path, checkpoint(case) | {"cfg": {}})


def test_a_hostile_checkpoint_stays_unsafe(tmp_path):
    content = checkpoint("v2_text") | {"extra_state": Ops(b"cos\nsystem\n")}
    with pytest.raises(UnsafeCheckpoint, match=r"asks for os\.system"):
        load(tmp_path, content)


def test_the_key_map_of_any_recipe_leads_out():
    """What the layout needs is in the recipe alone."""
    got = imported("v2_audio")
    rules = reader.layout("v2_audio", got.config)
    same(rules.convert_student(keymap.invert(got.student, rules.student)), got.student)
    tree = {**got.student, "prenet": {}}
    with pytest.raises(UserError, match=r"2 missing: prenet/norm/scale, prenet/norm/bias"):
        keymap.invert(tree, rules.student)
