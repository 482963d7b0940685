"""Plans for TPU slices, without the TPU's compiler; with it: -m tpu."""

import dataclasses
import json
import os
import sys
import types

import pytest
import systems
from jax.experimental import topologies

from d2v_jax.cli import main
from d2v_jax.measure import fitting, plan, plan_table, program, setting, slices
from d2v_jax.measure.program import Collective
from d2v_jax.train.recipe import resolve

GIB = 2**30
CONFIG = systems.small("v2_image_base")
V5E = slices.Slice("v5e:2x2", slices.CHIPS["v5e"], ())
PLAN = plan.Plan(
    recipe="v2_image_base",
    settings=(),
    on="4 x TPU v5 lite",
    devices=4,
    mesh="data:-1",
    dtype="bfloat16",
    examples=64,
    example_shape=(224, 224, 3),
    held={"student": GIB, "teacher": GIB, "optimiser": 2 * GIB, "batch": GIB},
    temporary=8 * GIB,
    needs=13 * GIB,
    has=16 * GIB,
    fits=True,
    products=197e12,
    counted=300e12,
    moved=2.0**30,
    largest=(("trunk/mlp [64,40] f32", 2**20),),
    cycles=slices.CHIPS["v5e"].flops_per_cycle and 3_000_000_000,
    collectives=(Collective("all-reduce", 2**30, 4, 3, "a"),),
    costliest=(plan.Cost(1_500_000_000, "mlp/fc1", "nn/dense.py:38"),),
)


def test_the_estimate_in_words():
    text = plan_table.table(PLAN, V5E)
    assert "v5e:2x2 (4 x TPU v5 lite)" in text and "fits" in text
    took = 3e9 / V5E.chip.hertz
    assert f"{took:.4f} s a step" in text
    assert f"{100 / took:.1f} % of 197 TFLOP/s" in text
    assert " 50.0  nn/dense.py:38" in text
    # A ring of four sends each byte twice, less a quarter.
    assert plan_table.links_s(PLAN, V5E) == pytest.approx(3 * 2 * GIB * 0.75 / 200e9)
    assert "3,072.0 MiB in 3 all-reduce among 4, the largest 1,024.0" in text
    assert "nothing was measured" in text


def test_what_does_not_fit_says_so_and_estimates_nothing():
    less = dataclasses.replace(
        PLAN, temporary=None, needs=25 * GIB, fits=False, cycles=0, counted=None
    )
    text = plan_table.table(less, V5E)
    assert "25,600.0" in text and "DOES NOT FIT" in text and "estimate" not in text
    with_settings = dataclasses.replace(less, settings=("train.micro_batches=4",))
    assert "does not fit on v5e:2x2 even with --config.train.micro_batches=4" in (
        plan_table.verdict(with_settings, V5E)
    )


@pytest.mark.parametrize(
    ("settings", "change", "wanted"),
    [
        # 20 GiB of activations where 11.5 are free: two parts; 40: four, as three do not divide 16.
        ({}, {"needs": 24 * GIB}, {"train.micro_batches": 2}),
        ({}, {"needs": 44 * GIB}, {"train.micro_batches": 4}),
        # Two parts still need 13: four.
        (
            {"train.micro_batches": 2},
            {"needs": 17 * GIB},
            {"train.micro_batches": 4},
        ),
        # A state above half of the memory is cut before anything else.
        (
            {},
            {"needs": 24 * GIB, "held": {"student": 9 * GIB}},
            {"mesh": "fsdp:-1"},
        ),
        # More parts than examples there are: activations again, one example each, views in parts.
        ({}, {"needs": 400 * GIB}, {"trunk.remat": "blocks"}),
        (
            {"trunk.remat": "blocks"},
            {"needs": 400 * GIB},
            {"trunk.remat": "blocks", "train.micro_batches": 16},
        ),
        (
            {"trunk.remat": "blocks", "train.micro_batches": 16},
            {"needs": 400 * GIB},
            {"trunk.remat": "blocks", "train.micro_batches": 16, "mask.micro_views": 2},
        ),
        (
            {"trunk.remat": "blocks", "train.micro_batches": 16, "mask.micro_views": 2},
            {"needs": 400 * GIB},
            None,
        ),
    ],
)
def test_what_is_tried_next(settings, change, wanted):
    mask = dataclasses.replace(CONFIG.objective.cfg.mask, views=2, micro_views=1)
    train = dataclasses.replace(CONFIG.train, batch_size=64)
    config = dataclasses.replace(CONFIG.with_sections(mask=mask), train=train)
    assert fitting.further(config, dataclasses.replace(PLAN, **change), settings) == wanted


def test_what_is_tried_divides_the_batches_of_every_length():
    """240, 96, 48 and 32 examples on eight devices: two parts at most."""
    recipe = resolve.resolve(resolve.load("v2_audio_base"))
    assert recipe.data.batch_sizes(recipe.train.batch_size) == (240, 96, 48, 32)
    plan_of_it = dataclasses.replace(PLAN, devices=8, examples=32, needs=20 * GIB)
    assert fitting.further(recipe, plan_of_it, {}) == {"train.micro_batches": 2}
    much = dataclasses.replace(plan_of_it, needs=60 * GIB)
    assert fitting.further(recipe, much, {}) == {"trunk.remat": "blocks"}


def test_a_search_ends_with_what_fits_and_keeps_its_plans(monkeypatch, tmp_path):
    """On the CPU's devices, with a memory that the recipe as it is does not fit into."""
    monkeypatch.setenv("D2V_CACHE", str(tmp_path))
    config = dataclasses.replace(
        CONFIG, mesh="data:-1", train=dataclasses.replace(CONFIG.train, batch_size=64)
    )
    devices = slices.jax.devices()
    state = sum(plan.plan(config, devices).held.values())
    need = plan.plan(config, devices).needs
    parts = fitting.changed(config, {"train.micro_batches": 4})
    less = plan.plan(parts, devices).needs
    assert state < less < need
    limit = (less + need) / 2
    chip = dataclasses.replace(slices.CHIPS["v5e"], memory_gib=limit / GIB)
    where = slices.Slice("cpu", chip, devices)
    first, last = fitting.made_to_fit(config, where, quick=True)
    assert first.quick and last.quick and last.fits and not last.costliest
    assert "A quick plan" in plan_table.table(last, where)
    first, last = fitting.made_to_fit(config, where, given={"seed": 3})
    assert first.quick and not first.fits and first.needs == need, "not compiled to the end"
    assert last.fits and not last.quick and "A quick plan" not in plan_table.table(last, where)
    assert last.settings[0] == "seed=3" and "micro_batches" in last.settings[1]
    assert len(list(tmp_path.glob("plans/*.json"))) >= 3

    def never(*_):
        raise AssertionError("compiled again")

    monkeypatch.setattr(fitting.plans, "plan", never)
    again = fitting.made_to_fit(config, where, given={"seed": 3})
    assert again == (first, last)
    for path in tmp_path.glob("plans/*.json"):
        path.write_text(json.dumps({"another": "version's"}))
    with pytest.raises(AssertionError, match="compiled again"):
        fitting.made_to_fit(config, where)


def test_fields_that_differ_are_named():
    parts = fitting.changed(CONFIG, {"train.micro_batches": 4, "mesh": "fsdp:-1"})
    assert fitting.differences(parts, CONFIG) == {"train.micro_batches": 4, "mesh": "fsdp:-1"}
    assert fitting.differences(CONFIG, CONFIG) == {}


@pytest.mark.parametrize("name", ["v9:2x2", "v5e", "v5e:8", "v5e:2x", "2x4", "v5e:2x4x4x4"])
def test_names_that_are_no_slice(name, capsys):
    assert main.main(["inspect", "--plan", "v2_image_base:smoke", "--on", name]) == 2
    assert "as in v5e:2x4" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        ("JAX TPU support not installed; cannot generate TPU topology.", "pip install"),
        (
            'INVALID_ARGUMENT: Topology layout "v5e:3x5" is not divisible',
            "does not know this slice: INVALID_ARGUMENT: Topology",
        ),
    ],
)
def test_a_compiler_that_refuses(said, remedy, monkeypatch, capsys):
    def refuse(**_):
        raise RuntimeError(said)

    monkeypatch.setattr(topologies, "get_topology_desc", refuse)
    assert main.main(["inspect", "--plan", "v2_image_base:smoke", "--on", "v5e:3x5"]) == 2
    assert remedy in capsys.readouterr().err


@pytest.mark.parametrize(
    ("said", "need", "has"),
    [
        (
            "RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory in memory "
            "space hbm. Used 25.36G of 15.75G hbm. Exceeded hbm capacity by 9.61G.",
            25.36,
            15.75,
        ),
        (
            "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO "
            "temporaries (1.09T) exceeds available HBM (15.75G).",
            1.09 * 1024,
            15.75,
        ),
    ],
)
def test_what_a_compiler_says_of_too_large_a_program(said, need, has):
    found = plan._too_large(said)
    assert [round(one / GIB, 2) for one in found] == [round(need, 2), has]
    assert plan._too_large("INTERNAL: something else") is None


def test_a_reader_that_leaves_before_the_second_slice(monkeypatch, capsys):
    """`| head` ends the plans of several slices without a word."""
    end, pipe = os.pipe()
    done = []

    def fits(recipe, where, *_):
        done.append(where)
        if len(done) == 2:
            os.close(end)
        return 2 * (types.SimpleNamespace(fits=True),)

    monkeypatch.setattr(slices, "find", lambda name: name)
    monkeypatch.setattr(fitting, "made_to_fit", fits)
    for name in ("table", "record"):
        monkeypatch.setattr(plan_table, name, lambda *_: "a plan")
    with open(pipe, "w") as out:
        monkeypatch.setattr(sys, "stdout", out)
        words = ["inspect", "--plan", "v2_text_base:smoke", "--on", "a", "b", "c"]
        assert main.main(words) == main.PIPE_CLOSED
    assert done == ["a", "b"] and not capsys.readouterr().err


@pytest.mark.tpu
def test_the_tpus_own_compiler(monkeypatch, tmp_path, capsys):
    """Needs libtpu; .ci/run brings it. A tiny recipe fits, a huge batch is brought to fit."""
    monkeypatch.setenv("D2V_CACHE", str(tmp_path))
    words = ["inspect", "--plan", "v2_text_base:smoke", "--on", "v5e:2x2", "v6e:1x1"]
    assert main.main(words) == 0
    text = capsys.readouterr().out
    assert "4 x TPU v5 lite" in text and "1 x TPU v6 lite" in text
    assert "DOES NOT FIT" not in text and "costliest operations" in text
    assert "data2vec/" in text or "nn/" in text
    assert "all-reduce among 4" in text
    huge = ["--config.train.batch_size=65536", "--config.trunk.scan=True"]
    assert main.main([*words[:-2], "v5e:1x1", "--as-is", *huge]) == 1
    assert "DOES NOT FIT" in capsys.readouterr().out


@pytest.mark.tpu
def test_gradients_of_kernels_travel_once_a_step():
    """Not with each micro-batch, though queries, keys and values are a product each."""
    config = systems.small("v2_text_base", noise=True)
    trunk = dataclasses.replace(config.objective.cfg.trunk, dtype="bfloat16")
    train = dataclasses.replace(config.train, batch_size=16, micro_batches=4)
    config = dataclasses.replace(config.with_sections(trunk=trunk), train=train)
    lowered = setting.Setting(config, devices=slices.find("v5e:2x2").devices).lower()
    messages = list(program.Program(lowered.compile().as_text()).collectives())
    assert {one.times for one in messages} == {1, 4}
    assert not [one for one in messages if one.times > 1 and "qkv" in one.op_name]
