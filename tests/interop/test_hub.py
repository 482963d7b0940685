"""Names on the hub and folders of its cache."""

import os
import pathlib
import shutil

import pytest

import d2v_jax as d2v
from d2v_jax.cli import main
from d2v_jax.common.checks import UserError
from d2v_jax.interop.huggingface import hub

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"
NAME = "facebook/data2vec-audio-base"


@pytest.fixture
def cached(tmp_path, monkeypatch) -> pathlib.Path:
    """The cache's folder of a model as the hub's programs lay it out, links included."""
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / ".cache/huggingface/hub/models--facebook--data2vec-audio-base"
    for number, commit in enumerate(("aaaa", "bbbb")):
        place = folder / "snapshots" / commit
        place.mkdir(parents=True)
        for file in (GOLDEN / "hf_audio" / "pretrained").iterdir():
            blob = folder / "blobs" / f"{file.name}{number}"
            blob.parent.mkdir(exist_ok=True)
            shutil.copy(file, blob)
            (place / file.name).symlink_to(os.path.relpath(blob, place))
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("aaaa")
    return folder


@pytest.mark.parametrize(
    "given",
    [
        NAME,
        f"https://huggingface.co/{NAME}",
        f"https://huggingface.co/{NAME}/tree/main",
        f"hf://{NAME}",
        "~/.cache/huggingface/hub/models--facebook--data2vec-audio-base",
        "~/.cache/huggingface/hub/models--facebook--data2vec-audio-base/snapshots",
        "~/.cache/huggingface/hub/models--facebook--data2vec-audio-base/snapshots/aaaa",
    ],
)
def test_what_the_cache_holds(cached, given):
    assert hub.located(given) == cached / "snapshots" / "aaaa"


def test_a_snapshot_is_read(cached):
    assert (
        d2v.load(NAME).params.keys() == d2v.load(GOLDEN / "hf_audio" / "pretrained").params.keys()
    )


def test_the_cache_that_the_environment_names(cached, tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    shutil.move(cached.parent, elsewhere / "hub")
    assert hub.located(NAME) == pathlib.Path(NAME)
    monkeypatch.setenv("HF_HOME", str(elsewhere))
    assert hub.located(NAME).name == "aaaa"
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert hub.located(NAME) == pathlib.Path(NAME)


def test_a_snapshot_that_is_not_whole(cached):
    (cached / "blobs" / "config.json0").unlink()
    (cached / "blobs" / "model.safetensors0").unlink()
    assert hub.located(NAME).name == "bbbb"
    shutil.rmtree(cached / "blobs")
    with pytest.raises(UserError, match=f"no whole snapshot.*`hf download {NAME}` again"):
        hub.located(NAME)


def test_folders_of_ones_own_come_first(cached, tmp_path):
    (tmp_path / NAME).mkdir(parents=True)
    assert hub.located(NAME) == pathlib.Path(NAME)


def test_a_name_that_is_nowhere(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert main.main(["inspect", "facebook/data2vec-text-base"]) == 2
    said = capsys.readouterr().err
    assert "`hf download facebook/data2vec-text-base`, then give the same name again" in said
    assert hub.hint("/no/such/place") == "" and hub.hint("a.pt") == ""
