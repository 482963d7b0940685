"""What is said of recipes and values that cannot be: one line, at the command line."""

import pathlib
import sys

import pytest

from d2v_jax.cli import main

VALUES = {
    "optimizer.learning_rate=inf": "optimizer.learning_rate=inf must be a finite",
    "optimizer.eps=nan": "optimizer.eps=nan must be a finite",
    "optimizer.clip=1e39": "optimizer.clip=1e+39 must be a finite",
    "optimizer.weight_decay=-inf": "optimizer.weight_decay=-inf must be a finite",
    "data.max_bad_share=nan": "data.max_bad_share=nan must be a finite",
    "train.stop_after=inf": "train.stop_after=inf must be a finite",
    "teacher.decay_start=nan": "teacher.decay_start=nan must be a finite",
    "train.step=3": "has no field 'step'. Did you mean \"steps\"",
    "trian.steps=3": "has no field 'trian'. Did you mean \"train\"",
    "mask.views.x=1": "has no field mask.views.x",
    "trunk.colour=1": "has no field 'colour'. The fields are listed in",
    "objective.x=1": "a field is set of one that is a word and no section: --config.objective.x=1",
    "train.steps=many": "invalid literal for int() with base 10: 'many'",
}


@pytest.mark.parametrize("value", VALUES)
def test_words_and_numbers_of_recipes(tmp_path, capsys, value):
    words = [
        "pretrain",
        "--config",
        "quickstart_image:smoke",
        f"--config.{value}",
        "--workdir",
        str(tmp_path / "never"),
    ]
    assert main.main(words) == 2
    err = capsys.readouterr().err.strip()
    assert VALUES[value] in err and "\n" not in err and r"\n" not in err


RECIPES = {
    "quickstart_image:smok": "recipe quickstart_image has no variant 'smok'; there is ':smoke'",
    "finetune_asr:base_11m": "finetune_asr has no setting 'base_11m'",
    "raises.py": "recipe raises.py: RuntimeError: two lines",
    "syntax.py": "recipe syntax.py: ",
    "empty.py": "recipe empty.py: the file has no function get_config",
}
WRITTEN = {
    "raises.py": "def get_config():\n    raise RuntimeError('two\\nlines')\n",
    "syntax.py": "def get_config(:\n",
    "empty.py": "",
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipes_that_cannot_be(tmp_path, capsys, monkeypatch, recipe):
    monkeypatch.chdir(tmp_path)
    for name, text in WRITTEN.items():
        pathlib.Path(name).write_text(text)
    sys.modules.pop("config_config", None)  # ml_collections keeps the last one
    assert main.main(["pretrain", "--config", recipe, "--workdir", "never"]) == 2
    err = capsys.readouterr().err.strip()
    assert RECIPES[recipe] in err and "\n" not in err
