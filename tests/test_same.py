"""`benchmarks/same.py`: equal is equal to the last bit, and what differs is named."""

import importlib
import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture
def same(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("same")


def quantities(**changed):
    loss, norm = np.float32([0.5]), np.float32([2])
    features = np.float32([[1, -2, 4], [0, np.nan, 8]])
    return {"loss": loss, "grad_norm": norm, "features": features, **changed}


def test_equal_bits_are_equal(same):
    assert same.difference(quantities(), quantities()) is None


def test_the_last_bit_is_seen(same):
    other = quantities()["features"]
    other[0, 2] = np.nextafter(other[0, 2], np.float32(5))
    found = same.difference(quantities(), quantities(features=other))
    assert (found.quantity, found.before, found.now) == ("features", 4, other[0, 2])
    assert found.others == 0


def test_signs_of_zeros_are_seen(same):
    other = quantities()["features"]
    other[1, 0] = -0.0
    found = same.difference(quantities(), quantities(features=other))
    assert (found.quantity, found.relative) == ("features", 0)


def test_the_first_of_several_is_named(same):
    other = quantities(grad_norm=np.float32([3]), loss=np.float32([0.75]))
    found = same.difference(quantities(), dict(reversed(other.items())))
    assert (found.quantity, found.before, found.now) == ("loss", 0.5, 0.75)
    assert found.relative == pytest.approx(1 / 3)
    assert found.others == 1


@pytest.mark.parametrize(
    "value",
    [
        np.float32([0.5, 0.5]),
        np.float64([0.5]),
        np.float32([[0.5]]),  # of these two the bytes are equal
        np.float32([0.5]).view(np.int32),
    ],
)
def test_shapes_and_kinds_are_seen(same, value):
    found = same.difference(quantities(), quantities(loss=value))
    assert found.quantity == "loss" and found.relative is None
    assert found.now == f"{value.dtype}{value.shape}"


def test_what_becomes_not_a_number_is_far(same):
    found = same.difference(quantities(), quantities(loss=np.float32([np.nan])))
    assert found.quantity == "loss" and found.relative == np.inf


def test_only_what_both_have_is_compared(same):
    assert same.difference(quantities(old=np.ones(1)), quantities(new=np.ones(2))) is None
    with pytest.raises(ValueError, match="share no quantity"):
        same.difference({"old": np.ones(1)}, {"new": np.ones(1)})


def test_views_are_parted_where_there_are_two(same):
    parts = lambda views, devices: [
        (case.part, case.mesh) for case in same.cases({"v2_text_base": views}, devices)
    ]
    whole, parted = ("whole", "data:-1"), ("micro_batches", "data:-1")
    assert parts(1, 1) == [whole, parted]
    assert parts(2, 1) == [whole, parted, ("micro_views", "data:-1")]
    assert parts(1, 8) == [whole, parted, ("whole", "fsdp:-1")]


def test_features_are_compared_once_for_a_recipe(same):
    asked = [case.features for case in same.cases({"v2_text_base": 2, "v1_text_base": 1}, 8)]
    assert asked == [True, False, False, False, True, False]
    assert not any(case.features for case in same.cases({"v2_text_base": 2}, 8, features=False))


def run(tmp_path, *words):
    out = tmp_path / "out.json"
    argv = [sys.executable, str(ROOT / "benchmarks" / "same.py"), "--json", str(out), *words]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300)
    assert "Traceback" not in done.stderr
    return done, json.loads(out.read_text()) if out.exists() else None


@pytest.mark.slow
def test_a_checkout_beside_itself(tmp_path):
    """And a recipe that fails is a difference, after which the others still have their turn."""
    words = ("v9_smell_base", "quickstart_text", "--devices", "1", "--steps", "2")
    words += ("--parts", "whole")
    done, record = run(tmp_path, "--before", str(ROOT), *words)
    assert done.returncode == 1, done.stderr
    verdicts = [row["verdict"] for row in record["cases"]]
    assert "before failed" in verdicts[0] and "v9_smell_base" in verdicts[0]
    assert verdicts[1:] == ["equal"]
    whole = record["cases"][1]
    assert len(whole["loss"]["now"]) == 2 and len(set(whole["loss"]["now"])) == 2
    assert whole["loss"]["now"] == whole["loss"]["before"]
    assert whole["only_before"] == whole["only_now"] == []
    assert "1 of 2 cases are equal bit for bit" in done.stdout


def test_no_checkout_is_refused(tmp_path):
    done, _ = run(tmp_path, "--before", str(tmp_path))
    assert done.returncode == 2
    assert "holds no recipes; is it a checkout of d2v_jax?" in done.stderr
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "v9_smell_base.py").touch()
    done, _ = run(tmp_path, "--before", str(tmp_path))
    assert done.returncode == 2
    assert f"before: {tmp_path} is no checkout of d2v_jax" in done.stderr
