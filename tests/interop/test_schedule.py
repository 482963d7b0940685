"""What a file says about its optimisation ends up in the recipe."""

import pytest
from cases import checkpoint, load
from d2v_jax.configs import audio, v1_audio_base

from d2v_jax.common.checks import UserError
from d2v_jax.train.recipe.resolve import resolve

COSINE = {"_name": "cosine", "warmup_updates": 100, "min_lr": 1e-5}
ADAM = {"_name": "adam", "adam_betas": "(0.9, 0.95)", "adam_eps": 1e-6, "weight_decay": 0.02}
RUN = {"max_update": 1000, "lr": [1e-3], "clip_norm": 4.0}


def read(tmp_path, case="v2_audio", **sections):
    content = checkpoint(case)
    content["cfg"] |= sections
    config = load(tmp_path, content).config
    resolve(config)
    return config


def test_cosine(tmp_path):
    got = read(tmp_path, optimization=RUN, optimizer=ADAM, lr_scheduler=COSINE)
    assert got["train"]["steps"] == 1000
    expected = {
        "learning_rate": 1e-3,
        "schedule": "cosine",
        "warmup_steps": 100,
        "hold_steps": 0,
        "start_share": 0.0,
        "end_share": pytest.approx(0.01),
        "adam": "fairseq",
        "b1": 0.9,
        "b2": 0.95,
        "eps": 1e-6,
        "weight_decay": 0.02,
        "decays": "all",
        "clip": 4.0,
        "layer_decay": 1.0,
        "decay_before": False,
        "same_end": False,
        "rates": (),
        "frozen": (),
    }
    assert got["optimizer"] == expected


def test_groups_have_their_own(tmp_path):
    group = {
        "lr_float": 4e-4,
        "optimizer": ADAM | {"adam_betas": [0.8, 0.9]},
        "lr_scheduler": COSINE,
    }
    got = read(
        tmp_path,
        optimization=RUN,
        lr_scheduler="pass_through",
        optimizer={"_name": "composite", "groups": {"default": group}},
    )["optimizer"]
    assert (got["learning_rate"], got["b1"], got["warmup_steps"]) == (4e-4, 0.8, 100)


@pytest.mark.parametrize(
    "fields", [{"phase_ratio": [0.03, 0.9, 0.07]}, {"warmup_steps": 30, "hold_steps": 900}]
)
def test_three_stages(tmp_path, fields):
    scheduler = {"_name": "tri_stage", "final_lr_scale": 0.05, **fields}
    got = read(tmp_path, "v1_audio", optimization=RUN, optimizer=ADAM, lr_scheduler=scheduler)
    got = got["optimizer"]
    assert (got["schedule"], got["warmup_steps"], got["hold_steps"]) == ("exponential", 30, 900)
    assert (got["start_share"], got["end_share"]) == (0.01, 0.05)


@pytest.mark.parametrize(
    "sections",
    [
        {"optimization": RUN},
        {"optimization": RUN, "optimizer": ADAM, "lr_scheduler": {"_name": "cosine2"}},
        {"optimization": RUN, "optimizer": {"_name": "sgd"}, "lr_scheduler": COSINE},
        {"optimization": {"lr": [1.0]}, "optimizer": ADAM, "lr_scheduler": COSINE},
        {"optimization": RUN, "optimizer": ADAM, "lr_scheduler": COSINE | {"warmup_updates": 2000}},
    ],
)
def test_otherwise_it_is_the_base_recipes(tmp_path, sections):
    for case, base in (("v2_audio", audio), ("v1_audio", v1_audio_base)):
        got, recipe = read(tmp_path, case, **sections), base.get_config().to_dict()
        assert got["optimizer"] == recipe["optimizer"] and got["train"] == recipe["train"]


@pytest.mark.parametrize(
    "sections, words",
    [
        ({"optimizer": ADAM | {"adam_betas": "(0.9)"}}, r"adam_betas='\(0.9\)' must be 2 numbers"),
        (
            {"optimizer": ADAM | {"adam_betas": [0.9, 1.5]}},
            r"adam_betas=\(0.9, 1.5\) must be below",
        ),
        ({"optimizer": ADAM | {"weight_decay": "x"}}, "weight_decay='x' must be a number"),
        ({"optimization": RUN | {"lr": ["x"]}}, "cfg.optimization.lr='x' must be a number"),
        ({"lr_scheduler": {"_name": "tri_stage", "phase_ratio": "abc"}}, "must be 3 numbers"),
    ],
)
def test_what_is_no_number_is_named(tmp_path, sections, words):
    with pytest.raises(UserError, match=words):
        read(
            tmp_path, **{"optimization": RUN, "optimizer": ADAM, "lr_scheduler": COSINE, **sections}
        )
