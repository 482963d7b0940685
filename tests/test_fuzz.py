"""Some hundred spoilt inputs for each door: always the same ones. For more: tests/fuzz/run.py."""

import json
import logging
import subprocess
import sys

import pytest

hypothesis = pytest.importorskip("hypothesis")

from fuzz import judge, run, targets  # noqa: E402
from fuzz.spoil import edited, spoilt  # noqa: E402

INPUTS = {"headers": 8, "texts": 20, "recipes": 8, "runs": 30}  # of the slow ones
SLOW = ("runs",)
NAMES = [
    pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in targets.TARGETS
]


@pytest.mark.parametrize("name", NAMES)
def test_spoilt_input_ends_in_a_sentence(name, tmp_path):
    logging.disable(logging.CRITICAL)
    try:
        most = INPUTS.get(name, 60)
        tried, found = run.hunt(targets.TARGETS[name], tmp_path, seed=1, seconds=60, most=most)
    finally:
        logging.disable(logging.NOTSET)
    assert found == {} and 0 < tried <= most


FOUND = {  # by the tool, each mended where it came from
    "a section that is none": ("recipes", ("v2_image_base", [([7], "set", None)], [])),
    "the frontend's": ("recipes", ("v2_image_base", [([46], "set", None)], [])),
    "an override below it": ("recipes", ("v1_audio_base", [([93], "set", None)], [(223, "")])),
    "a field with a dot in its name": ("recipes", ("v2_image_base", [([0], "set", {".": 0})], [])),
    "control codes in a value": ("recipes", ("v2_image_base", [], [(47, "j\x87K")])),
    "control codes of Parquet": ("texts", ("a.parquet", [("flip", 4, 4)])),
    "a column that is not UTF-8": ("texts", ("a.parquet", [("drop", 0, 1), ("flip", 529, 7)])),
    "a name with a zero byte": ("manifests", ("list.tsv", [("set", 17, b"\0")])),
}


@pytest.mark.parametrize("case", FOUND)
def test_what_was_found_ends_in_a_sentence(case, tmp_path):
    name, spoilt_input = FOUND[case]
    target = targets.TARGETS[name]
    prepared = target.prepare(tmp_path)
    with judge.judged():
        target.check(prepared, tmp_path, spoilt_input)


def test_findings_are_found(tmp_path):
    """What the judge must not let pass."""

    def let(check):
        target = targets.Target(hypothesis.strategies.integers(), lambda folder: None, check)
        return run.hunt(target, tmp_path, seed=0, seconds=30, most=40)[1]

    def divides(prepared, folder, case):
        return 1 // case

    def runs(prepared, folder, case):
        if case > 5:
            subprocess.run([sys.executable, "-c", ""], check=True)

    def hides(prepared, folder, case):
        try:
            runs(prepared, folder, case)
        except AssertionError:
            pass

    class Mutterer:
        def __del__(self):
            raise RuntimeError("said by nobody")

    def mutters(prepared, folder, case):
        if case > 5:
            Mutterer()

    assert list(let(divides)) == [f"ZeroDivisionError in test_fuzz.py:{_line(divides) + 1}"]
    assert [place[:10] for place in let(runs)] == ["fault: sub"]
    assert [place[:10] for place in let(hides)] == ["fault: ran"]
    assert [place[:18] for place in let(mutters)] == ["fault: a traceback"]
    assert let(lambda prepared, folder, case: None) == {}


def _line(function) -> int:
    return function.__code__.co_firstlineno


def test_a_hang_is_found(monkeypatch):
    monkeypatch.setattr(judge, "SECONDS", 1)
    with pytest.raises(judge.Fault, match="hangs"), judge.judged():
        while True:
            try:
                sum(range(1000))
            except Exception:
                pass


def test_ways_to_spoil():
    data = bytes(range(8))
    assert spoilt(data, [("flip", 1, 0)]) == bytes([0, 0, *range(2, 8)])
    assert spoilt(data, [("cut", 3, 0), ("insert", 3, b"x")]) == b"x\0\1\2"
    assert spoilt(data, [("drop", 1, 6), ("repeat", 1, 9), ("set", 0, b"a")]) == b"a\7\7"
    content = {"a": [1, {"b": 2}], "c": 3}
    assert edited(content, [([0, 1, 0], "set", 9), ([1], "drop", 0)]) == {"a": [1, {"b": 9}]}
    assert content == json.loads(json.dumps(content))
