"""Rules there and back, and the small readers beside them."""

import dataclasses

import numpy as np
import pytest

from d2v_jax.common.checks import UserError
from d2v_jax.interop import keymap
from d2v_jax.interop.fairseq import original, specs
from d2v_jax.interop.keymap import Constant
from d2v_jax.interop.layout import rename
from d2v_jax.interop.sections import Section

RULES = [
    *keymap.linear("a/map", "map", 3, 4),
    *keymap.conv("a/conv", "conv", 2, 6, (5, 7)),
    *keymap.norm("b/norm", "norm", 3),
    *keymap.joined("b/qkv", ["q", "k", "v"], 3, 4),
    keymap.leaf("c/first", "first", (1, 8), keymap.first),
]


def example():
    draw = np.random.default_rng(0)
    return {
        key: draw.normal(size=shape).astype(np.float32)
        for rule in RULES
        for key, shape in zip(rule.theirs, rule.shapes, strict=True)
    }


def test_there_and_back():
    flat = example()
    tree, report = keymap.convert(flat, RULES, (), "it", "x.")
    assert tree["a"]["conv"]["kernel"].shape == (5, 7, 2, 6)
    assert tree["a"]["conv"]["kernel"][4, 6, 1, 5] == flat["conv.weight"][5, 1, 4, 6]
    assert tree["b"]["qkv"]["kernel"].shape == (3, 12)
    assert tree["b"]["qkv"]["kernel"][2, 4 + 3] == flat["k.weight"][3, 2]
    assert tree["b"]["qkv"]["bias"][8 + 1] == flat["v.bias"][1]
    assert ("b/qkv/bias", "x.q.bias + x.k.bias + x.v.bias", (12,)) in report
    back = keymap.invert(tree, RULES)
    assert back.keys() == flat.keys()
    for key, value in flat.items():
        np.testing.assert_array_equal(back[key], value)
        assert back[key].flags.c_contiguous


def test_what_does_not_lead_back_is_listed():
    tree, _ = keymap.convert(example(), RULES)
    del tree["a"]["map"]["bias"]
    tree["b"]["qkv"]["kernel"] = np.zeros((3, 9))
    tree["d"] = {"more": np.zeros(2)}
    with pytest.raises(UserError) as error:
        keymap.invert(tree, RULES)
    assert "1 missing: a/map/bias\n" in str(error.value)
    assert "1 of another shape: b/qkv/kernel is (3, 9), expected (3, 12)\n" in str(error.value)
    assert "1 left over: d/more" in str(error.value)


def test_constants_are_written_too():
    constant = Constant("codes", (1, 2, 2), lambda: np.arange(4.0).reshape(2, 2), required=True)
    back = keymap.invert({}, [], [constant])
    assert back["codes"].shape == (1, 2, 2) and back["codes"].dtype == np.float32


def test_rules_without_an_inverse_are_a_bug_of_ours():
    one_way = dataclasses.replace(RULES[0], inverse=None)
    with pytest.raises(ValueError, match="a/map/kernel has no inverse"):
        keymap.invert({}, [one_way])
    twice = dataclasses.replace(RULES[0], ours="a/other")
    tree, _ = keymap.convert(example(), RULES)
    tree["a"]["other"] = tree["a"]["map"]["kernel"]
    with pytest.raises(ValueError, match="a/other has no inverse"):
        keymap.invert(tree, [*RULES, twice])


def test_renaming_never_loses_an_array():
    assert rename({"a": 1, "b": 2}, {"a": "c", "b": None}.get) == {"c": 1}
    assert rename({"a": 1, "b": 2}, lambda key: "b") == {"a": 1, "b": 2}
    assert rename({"a": 1, "b": 2}, lambda key: "c") == {"c": 1, "b": 2}


def test_convolution_specifications():
    base = "[(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512,2,2)] + [(512,2,2)]"
    expected = ((512, 10, 5), *((512, 3, 2),) * 4, (512, 2, 2), (512, 2, 2))
    assert specs.conv_layers("spec", base) == expected
    assert specs.conv_layers("spec", " [(1,2,3), (4, 5, 6,),]*2 ") == ((1, 2, 3), (4, 5, 6)) * 2


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "[(1,2)]",
        "[(1,2,3,4)]",
        "[(1,2,3)] +",
        "+[(1,2,3)]",
        "[(1,2,3)]*",
        "[(1,2,3)] * 0",
        "[(1,2,3)] * 101",
        "[(0,2,3)]",
        "[(1,-2,3)]",
        "[(1,2.5,3)]",
        "[(1,2,3)]; x",
        "eval('1')",
        "[(1,2,3)" + ",(1,2,3)" * 50_000,
        "(" * 100_000,
        "+".join(["[(1,2,3)]"] * 101),
    ],
)
def test_other_text_is_refused(text):
    with pytest.raises(UserError, match="^spec=.*must look like"):
        specs.conv_layers("spec", text)


def test_lists_of_numbers():
    assert specs.integers("it", "[6, 7,8]") == (6, 7, 8)
    assert specs.integers("it", [1, 2]) == (1, 2) and specs.integers("it", "[]") == ()
    for bad in ("6, 7", "[1, x]", "[-1]", [1.5], None, "[1" * 1000):
        with pytest.raises(UserError, match="must look like"):
            specs.integers("it", bad)


def test_sections_name_what_they_refuse():
    cfg = Section("cfg", {"a": {"b": 2, "n": 1.5}, "x": "text"})
    assert cfg.section("a").integer("b", 0, 5) == 2 and cfg.optional("none").fields == {}
    assert cfg.section("a").number("missing", 0, 1, 0.5) == 0.5
    with pytest.raises(UserError, match=r"cfg\.a\.b=2 must be a number from 3 to 5"):
        cfg.section("a").integer("b", 3, 5)
    with pytest.raises(UserError, match=r"cfg\.a\.n=1\.5 must be a whole number"):
        cfg.section("a").integer("n", 0, 5)
    with pytest.raises(UserError, match=r"cfg\.x should be a group of fields, but is 'text'"):
        cfg.section("x")


@pytest.mark.parametrize("value", [np.zeros(3), [], {}, (1,)], ids=str)
def test_values_that_cannot_be_compared(value):
    cfg = Section("cfg", {"a": value})
    with pytest.raises(UserError, match=r"cfg\.a=a \w+: our model only knows 0"):
        cfg.only({"a": 0})
    with pytest.raises(UserError, match=r"cfg\.a=a \w+ must be a number"):
        cfg.equal("a", "b")
    assert cfg.word("a") == "" and Section("cfg", {"a": "x"}).word("a") == "x"


@pytest.mark.parametrize("width", [7, 32, 48, 768, 1000])
@pytest.mark.parametrize("hidden", [1, 13, 100, 3072, 4095])
def test_the_ratio_gives_back_the_units(width, hidden):
    assert int(width * original.mlp_ratio(width, hidden)) == hidden
