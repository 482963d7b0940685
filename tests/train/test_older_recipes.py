"""Recipes of siblings as runs of earlier versions stored them: what they lack changes nothing."""

import copy
import json
import pathlib

import pytest

from d2v_jax.train.recipe import resolve

STORED = json.loads(pathlib.Path(__file__).with_name("older_siblings.json").read_text())
# Fields that came later, and what they are for runs that never heard of them.
ADDED = {
    "data.most_pixels": 180_000_000,
    "data.unit_classes": [],
    "data.unit_rate": 50.0,
    "data.unit_special": 0,
    "data.units": [],
    "frontend.conv_style": "wav2vec",
    "trunk.fused_attention": False,
}


def flat(fields):
    found = {}
    for name, value in json.loads(json.dumps(fields)).items():
        inner = {f"{name}.{k}": v for k, v in value.items()} if isinstance(value, dict) else {}
        found |= inner or {name: value}
    return found


def read(fields):
    """As the recipe of a run folder is read."""
    completed = resolve.completed(copy.deepcopy(fields))
    return flat(resolve.to_fields(resolve.resolve(resolve.edited(completed, [], "a run"))))


@pytest.mark.parametrize("name", STORED)
def test_what_an_older_recipe_lacks_is_filled_in(name):
    before, now = flat(STORED[name]), read(STORED[name])
    assert {key: now[key] for key in before} == before
    new = now.keys() - before.keys()
    assert new and {key: now[key] for key in new} == {key: ADDED[key] for key in new}


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("bert_base", "corruption.words", False),
        ("mae_base", "painter.mlp_ratio", 4.0),
        ("wav2vec2_base", "contrast.temperature", 0.1),
    ],
)
def test_fields_of_its_own_sections_too(name, field, value):
    fields = copy.deepcopy(STORED[name])
    section, inner = field.split(".")
    del fields[section][inner]
    found = read(fields)
    assert found[field] == value
    assert found.items() >= flat(fields).items()


def test_nothing_of_data2vec_is_added():
    assert not {"teacher", "targets", "decoder", "loss"} & {
        key.split(".")[0] for key in read(STORED["mae_base"])
    }
