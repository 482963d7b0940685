"""A stranger's objective trains, goes on, changes its mesh and is looked at, as ours do."""

import json
import shutil
import sys
import types

import jax
import pytest

from d2v_jax.cli.main import main
from d2v_jax.common.checks import UserError
from d2v_jax.data import modality
from d2v_jax.data.modality import data_class
from d2v_jax.encoder import objective
from d2v_jax.encoder.objective import objective_class
from d2v_jax.frontends import frontend
from d2v_jax.frontends.frontend import frontend_class

RECIPE = """
from d2v_jax.configs import image
from ml_collections import config_dict

def get_config(arg=""):
    c = image.smoke(image.get_config())
    c.recipe, c.objective = "denoising", "outside.denoising"
    for section in ("positions", "trunk", "mask", "decoder", "targets", "loss", "teacher"):
        del c[section]
    c.data.image_size, c.frontend.patch_size, c.train.batch_size = 32, 8, 16
    c.autoencoder = config_dict.ConfigDict({"width": 16, "noise": 0.1})
    c.optimizer.learning_rate, c.train.steps, c.train.checkpoint_every = 1e-2, 12, 6
    return c
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    path = tmp_path_factory.mktemp("outside") / "denoising.py"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="module")
def trained(recipe):
    run = recipe.parent / "run"
    argv = ["pretrain", "--config", str(recipe), "--workdir", str(run)]
    assert main([*argv, "--config.train.micro_batches=2", "--config.mesh=fsdp:-1"]) == 0
    return run


def records(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").open()]


def test_it_trains_and_mentions_no_teacher(trained):
    losses = [one["loss"] for one in records(trained)]
    assert len(losses) == 12 and losses[-1] < 0.9 * losses[0]
    names = set(records(trained)[-1])
    assert "squared_error" in names
    assert not names & {"teacher_decay", "target_std", "hidden_share", "position_share"}
    items = {path.name for path in (trained / "checkpoints" / "12").iterdir() if path.is_dir()}
    assert "params" in items and not items & {"student", "teacher", "carried"}


def test_it_goes_on_with_another_mesh(trained, tmp_path):
    run = tmp_path / "again"
    shutil.copytree(trained, run)
    shutil.rmtree(run / "checkpoints" / "12")
    argv = ["pretrain", "--config", str(run), "--workdir", str(run)]
    assert main([*argv, "--config.mesh=data:2,fsdp:4", "--config.train.micro_batches=1"]) == 0
    for ours, theirs in zip(records(run), records(trained), strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-5)
    assert jax.device_count() == 8


def test_it_is_inspected(trained, recipe, capsys):
    assert main(["inspect", str(trained)]) == 0
    said = capsys.readouterr().out
    assert "down/kernel" in said and "outside.denoising_image at step 12" in said
    assert "teacher" not in said and "student" not in said
    assert main(["inspect", str(recipe), "--plan"]) == 0
    said = capsys.readouterr().out
    assert "params" in said and "teacher" not in said and "carried" not in said


def test_its_step_is_measured(recipe, capsys):
    assert main(["bench", "step", str(recipe), "--seconds", "0.01", "--parts"]) == 0
    said = capsys.readouterr().out
    assert "update" in said and "teacher" not in said


def test_what_it_cannot_do_is_said(trained, recipe, tmp_path, capsys):
    assert main(["features", str(trained), str(tmp_path), "--out", str(tmp_path / "f.npz")]) == 2
    assert "outside.denoising" in capsys.readouterr().err
    argv = ["pretrain", "--config", str(recipe), "--workdir", str(tmp_path / "run")]
    assert main([*argv, "--config.objective=outside.nothing"]) == 2
    assert "objective='outside.nothing'" in capsys.readouterr().err
    assert main([*argv, "--config.autoencoder.width=0"]) == 2
    assert "autoencoder.width=0 must be positive" in capsys.readouterr().err


@pytest.mark.parametrize("find", [objective_class, frontend_class])
def test_a_class_of_another_kind_is_refused(find, monkeypatch):
    """Before a run finds out that it lacks half of what is asked of it."""
    module = types.ModuleType("somebodys")
    module.Objective = module.Frontend = dict
    monkeypatch.setitem(sys.modules, "somebodys", module)
    with pytest.raises(UserError, match=r"='somebodys': the module has no class .* derived from"):
        find("somebodys")
    with pytest.raises(UserError, match=r"='audoi' is not one of|='audoi': the module cannot"):
        find("audoi")


@pytest.mark.parametrize(
    ("find", "base", "lacks"),
    [
        (objective_class, objective.Objective, "init, draw, counts, loss"),
        (frontend_class, frontend.Frontend, "build, token_count"),
        (data_class, modality.Data, "example_shape, open"),
    ],
)
def test_what_a_class_lacks_is_named(find, base, lacks, monkeypatch):
    """At the door, not by a traceback in the middle of a run."""
    module = types.ModuleType("unfinished")
    mine = type(base.__name__, (base,), {"__module__": "unfinished"})
    setattr(module, base.__name__, mine)
    monkeypatch.setitem(sys.modules, "unfinished", module)
    with pytest.raises(UserError, match=f"='unfinished': its class .* has no {lacks};"):
        find("unfinished")
