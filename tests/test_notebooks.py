"""Every notebook runs from top to bottom, in an empty folder, and draws what it promises."""

import dataclasses
import json
import pathlib
import re

import jax
import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

from d2v_jax.common import trees
from d2v_jax.common.checks import ConfigError, UserError
from d2v_jax.train import state
from d2v_jax.train.recipe import resolve as configs
from d2v_jax.transfer import encoder

ROOT = pathlib.Path(__file__).parents[1]
FOLDER = ROOT / "notebooks"
ORIGINAL = ROOT / "tests" / "golden" / "v2_image" / "checkpoint.pt"

# Settings that differ here from what a reader finds; pictures; words that must be printed.
NOTEBOOKS = {
    "parameter_tree": ({"IMPORTED": str(ORIGINAL)}, 4, ("borrowed", "114 in all")),
    "features": ({}, 3, ("20 ms per frame", "Return a list of all the keys.")),
    "surgery": ({}, 4, ("step 1 of the run", "parameters saved in")),
}
# Machine paths, home folders, drive letters; not the parts of a web address or of a fraction.
ABSOLUTE = re.compile(r"""(?:^|[\s"'(=])(?:~?/[A-Za-z]\w*/|[A-Za-z]:\\)""", re.M)


def read(name: str) -> nbformat.NotebookNode:
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def test_all_notebooks_are_known():
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == set(NOTEBOOKS)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_is_stored_clean(name):
    book = read(name)
    nbformat.validate(book)
    assert book.cells[0].cell_type == "markdown"
    for cell in book.cells:
        assert not ABSOLUTE.search(cell.source), f"absolute path in {cell.source!r}"
        if cell.cell_type == "code":
            assert not cell.outputs and cell.execution_count is None, "stored outputs"
    (settings,) = (c for c in book.cells if "parameters" in c.metadata.get("tags", ()))
    first_code = next(c for c in book.cells if c.cell_type == "code")
    assert settings is first_code and "=" in settings.source


def test_absolute_paths_are_found():
    for bad in ("RUN = '/home/me/run'", 'open("~/x/y")', "C:\\x", "see /tmp/a"):
        assert ABSOLUTE.search(bad), bad
    for good in ("https://arxiv.org/abs/1", "../tests/golden/a.pt", "a / b / c", "runs/tiny"):
        assert not ABSOLUTE.search(good), good


@pytest.mark.parametrize("name", NOTEBOOKS)
@pytest.mark.slow
def test_runs(name, tmp_path, monkeypatch):
    # One CPU device, little effort in compiling, and nothing of the user's Jupyter.
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
    for variable in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "MPLCONFIGDIR"):
        (tmp_path / variable).mkdir()
        monkeypatch.setenv(variable, str(tmp_path / variable))
    settings, pictures, words = NOTEBOOKS[name]
    book, work = read(name), tmp_path / "work"
    work.mkdir()
    # As papermill does it: a cell behind the settings, with other values.
    own = nbformat.v4.new_code_cell("\n".join(f"{k} = {v!r}" for k, v in settings.items()))
    book.cells.insert(1 + next(i for i, c in enumerate(book.cells) if "tags" in c.metadata), own)

    where = {"metadata": {"path": str(work)}}
    NotebookClient(book, timeout=300, kernel_name="python3", resources=where).execute()

    outputs = [out for cell in book.cells if cell.cell_type == "code" for out in cell.outputs]
    drawn = [out for out in outputs if "image/png" in out.get("data", {})]
    assert len(drawn) == pictures
    said = "".join(out.text for out in outputs if out.output_type == "stream")
    for word in words:
        assert word in said
    assert "Traceback" not in said
    if name == "parameter_tree":
        assert sum("treescope" in out.get("data", {}).get("text/html", "") for out in outputs) >= 2


@pytest.fixture
def fresh(tiny):
    """An encoder at step 7 with any numbers; teacher and student differ."""
    shapes = jax.eval_shape(lambda: state.create(tiny))
    draw = np.random.default_rng(0).standard_normal
    student, teacher = (
        trees.map_with_path(lambda _, leaf: draw(leaf.shape, np.float32), tree)
        for tree in (shapes.params, shapes.carried)
    )
    return encoder.Encoder(tiny, student, teacher, None, 7)


def test_save_keeps_everything(fresh, tmp_path):
    fresh.save(tmp_path / "a")
    fresh.save(tmp_path / "a")  # an earlier save is replaced
    back = encoder.load(tmp_path / "a")
    assert back.recipe == fresh.recipe and back.step == 7 and back.head is None
    for ours, theirs in ((fresh.params, back.params), (fresh.teacher, back.teacher)):
        ours, theirs = dict(trees.leaves(ours)), dict(trees.leaves(theirs))
        assert ours.keys() == theirs.keys()
        assert all(np.array_equal(ours[path], theirs[path]) for path in ours)
    # The folder is a recipe, too.
    saved = json.loads((tmp_path / "a" / "config.json").read_text())
    assert configs.resolve(saved["recipe"]) == fresh.recipe


def test_save_overwrites_nothing_else(fresh, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="something other than a saved encoder"):
        fresh.save(tmp_path)
    with pytest.raises(UserError, match="is a file"):
        fresh.save(tmp_path / "notes.txt")
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "config.json").write_text('{"model_type": "data2vec-audio"}')
    with pytest.raises(UserError, match="something other than a saved encoder"):
        fresh.save(tmp_path / "theirs")


def test_save_refuses_an_impossible_recipe(fresh, tmp_path):
    trunk = dataclasses.replace(fresh.config.trunk, depth=1)
    recipe = fresh.recipe.with_sections(trunk=trunk)
    with pytest.raises(ConfigError, match="targets.blocks"):
        dataclasses.replace(fresh, recipe=recipe).save(tmp_path / "b")
    assert not (tmp_path / "b").exists()
