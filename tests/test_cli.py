"""What a person meets at the command line: results in files, errors with a remedy, no traceback."""

import json
import pathlib
import pickle
import shutil

import numpy as np
import pytest
from PIL import Image

import d2v_jax as d2v
from d2v_jax.cli import main
from d2v_jax.common.checks import UserError

SMOKE = [
    "--config",
    "quickstart_image:smoke",
    "--config.train.steps=8",
    "--config.train.checkpoint_every=4",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run of the smoke recipe."""
    workdir = tmp_path_factory.mktemp("run") / "smoke"
    assert main.main(["pretrain", *SMOKE, "--workdir", str(workdir)]) == 0
    return workdir


@pytest.fixture
def pictures(tmp_path):
    """Two class folders of random pictures."""
    rng = np.random.default_rng(0)
    for i in range(40):
        path = tmp_path / "pictures" / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        low = 128 * (i % 2)
        pixels = rng.integers(low, low + 128, (40, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    return tmp_path / "pictures"


def fails(capsys, *words):
    code = main.main(list(map(str, words)))
    err = capsys.readouterr().err
    assert code == 2 and "Traceback" not in err, err
    return err


def test_a_run_holds_what_the_readme_says(run):
    record = json.loads((run / "config.json").read_text())
    assert record["recipe"]["recipe"] == "quickstart_image" and "jax" in record["versions"]
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 9))
    assert {"loss", "target_std", "prediction_std", "position_share"} <= set(lines[0])
    assert (run / "checkpoints" / "8" / "student").is_dir()
    assert any((run / "tensorboard").iterdir())
    (call,) = json.loads((run / "goodput.json").read_text())
    assert call["steps"] == [0, 8] and call["compilations"] >= 2 and 0 < call["goodput"] < 1
    assert set(call["seconds"]) == {
        "start",
        "compile",
        "data",
        "checkpoint",
        "evaluation",
        "productive",
    }
    assert all(0 <= seconds < 600 for seconds in call["seconds"].values())


def test_a_trace_of_chosen_steps(tmp_path):
    argv = ["pretrain", *SMOKE, "--workdir", str(tmp_path), "--config.profile=steps:3..4"]
    assert main.main(argv) == 0
    assert len(list((tmp_path / "profile").rglob("*.xplane.pb"))) == 1


def test_a_finished_run_stays_finished(run, caplog):
    caplog.set_level("INFO", "d2v")
    assert main.main(["pretrain", "--workdir", str(run)]) == 0
    assert "is complete at step 8" in caplog.text


def test_probe_writes_its_table(run, capsys):
    assert main.main(["probe", str(run), "--examples", "96"]) == 0
    table = capsys.readouterr().out
    scores = json.loads((run / "probe.json").read_text())
    for probe in ("linear", "knn"):
        assert set(scores[probe]) == {"pixels", "random", "student", "teacher"}
        assert all(0 <= value <= 1 for value in scores[probe].values())
    assert f"{scores['linear']['student']:.3f}" in table


def test_probe_on_own_class_folders(run, pictures, capsys):
    copy = pictures.parent / "copy"
    shutil.copytree(run, copy)
    assert main.main(["probe", str(copy), "--source", str(pictures)]) == 0
    assert "2 classes" in capsys.readouterr().out
    assert json.loads((copy / "probe.json").read_text())["linear"]["pixels"] > 0.8


def test_features_of_a_folder(run, pictures, tmp_path, capsys):
    (pictures / "a" / "broken.jpg").write_text("not a picture")
    out = tmp_path / "f.npz"
    assert main.main(["features", str(run), str(pictures), "--out", str(out)]) == 0
    saved = np.load(out)
    assert saved["features"].shape == (40, 32) and len(set(saved["names"])) == 40
    assert "40 images" in capsys.readouterr().out


def test_load_gives_the_pure_tree_and_features(run):
    encoder = d2v.load(run)
    assert encoder.params["trunk"]["block_00"]["mlp"]["fc1"]["kernel"].shape == (32, 128)
    images = np.random.default_rng(0).integers(0, 256, (70, 32, 32, 1), dtype=np.uint8)
    pooled = encoder.features(images)
    assert pooled.shape == (70, 32) and pooled.dtype == np.float32
    frames = encoder.features(images, pool=None)
    assert frames.shape == (70, 64, 32)
    np.testing.assert_allclose(frames.mean(1), pooled, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(encoder.features(images[3:4]), pooled[3:4], rtol=1e-4, atol=1e-5)
    assert np.abs(encoder.as_teacher().features(images) - pooled).max() > 1e-4
    for wrong, words in ((images[:, :30], "do not fit"), (images / 255, "give uint8")):
        with pytest.raises(UserError, match=words):
            encoder.features(wrong)
    with pytest.raises(UserError, match="layer='first' is not"):
        encoder.features(images, layer="first")


def test_inspect_shows_the_tree(run, capsys):
    assert main.main(["inspect", str(run)]) == 0
    out = capsys.readouterr().out
    assert "trunk/block_00/mlp/fc1/kernel" in out and "owned" in out and '"steps": 8' in out


def test_convert_then_probe_as_any_run(tmp_path, capsys):
    case = pathlib.Path(__file__).parent / "golden" / "v2_image"
    out = tmp_path / "imported"
    assert main.main(["convert", str(case / "checkpoint.pt"), str(out)]) == 0
    assert "largest difference after reading them back: 0" in capsys.readouterr().out
    encoder = d2v.load(out)
    assert sum(x.size for x in _leaves(encoder.params)) == 65_152
    assert "is not empty" in fails(capsys, "convert", case / "checkpoint.pt", out)


def _leaves(tree):
    for value in tree.values():
        yield from _leaves(value) if isinstance(value, dict) else [value]


def test_bad_data(tmp_path, pictures, capsys):
    def pretrain(source, *more):
        where = tmp_path / "never"
        err = fails(
            capsys, "pretrain", *SMOKE, f"--config.data.source={source}", *more, "--workdir", where
        )
        assert not where.exists(), "a refused run left something behind"
        return err

    assert "nowhere" in pretrain(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert "jpg" in pretrain(tmp_path / "empty")
    texts = tmp_path / "texts"
    texts.mkdir()
    for i in range(30):
        (texts / f"{i}.jpg").write_text("this is no picture")
    assert "unreadable" in pretrain(texts)
    assert "did you mean" in pretrain("builtin:photo").lower()
    assert "array_record" in pretrain(tmp_path / "*.array_record")
    assert "train.batch_size=12 cannot be divided among 8 devices" in pretrain(
        pictures, "--config.train.batch_size=12"
    )


def test_bad_recipes(tmp_path, capsys):
    where = ["--workdir", tmp_path / "w"]
    assert "v2_image_base" in fails(capsys, "pretrain", "--config", "v2_image_bass", *where)
    assert "Did you mean" in fails(capsys, "pretrain", *SMOKE, "--config.train.stepz=3", *where)
    assert "holds no run to continue" in fails(capsys, "pretrain", *where)
    assert "need a recipe" in fails(capsys, "pretrain", "--config.train.steps=3", *where)


def test_another_recipe_in_the_workdir(run, capsys):
    other = ["--config.mask.views=3", "--config.seed=7"]
    err = fails(capsys, "pretrain", *SMOKE, *other, "--workdir", run)
    assert "seed: 0 there, 7 asked" in err
    (line,) = [line for line in err.splitlines() if "mask.views: 2 there, 3 asked" in line]
    assert line.startswith("d2v pretrain: ") and line.endswith("continue the run as it is")


def test_a_damaged_checkpoint(run, tmp_path, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    for path in (copy / "checkpoints" / "8" / "student").rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    # A run of twelve steps, stopped at the eighth.
    for path in (copy / "config.json", *copy.glob("checkpoints/*/recipe/metadata")):
        path.write_text(path.read_text().replace('"steps": 8', '"steps": 12'))
    err = fails(capsys, "pretrain", "--workdir", copy)
    assert "checkpoints/8 cannot be read" in err and "continues from step 4" in err
    assert "cannot be read" in fails(capsys, "probe", copy)
    shutil.move(copy / "checkpoints" / "8", copy / "moved")
    assert main.main(["pretrain", "--workdir", str(copy)]) == 0


def test_hostile_and_foreign_files(tmp_path, capsys):
    class Bomb:
        def __reduce__(self):
            return pathlib.Path.touch, (tmp_path / "ran",)

    hostile = tmp_path / "hostile.pt"
    hostile.write_bytes(pickle.dumps({"model": Bomb()}))
    fails(capsys, "convert", hostile, tmp_path / "out")
    assert not (tmp_path / "ran").exists() and not (tmp_path / "out").exists()
    (tmp_path / "cut.pt").write_bytes(b"PK\x03\x04 not the rest")
    assert "cut.pt" in fails(capsys, "convert", tmp_path / "cut.pt", tmp_path / "out")
    assert "none.pt" in fails(capsys, "convert", tmp_path / "none.pt", tmp_path / "out")


def test_bad_targets_of_other_tasks(run, tmp_path, pictures, capsys):
    assert "none; give a run folder" in fails(capsys, "probe", tmp_path / "none")
    assert "holds neither config.json nor" in fails(capsys, "inspect", pictures)
    out = tmp_path / "f.npz"
    assert "nowhere" in fails(capsys, "features", run, tmp_path / "nowhere", "--out", out)
    assert ".npz" in fails(capsys, "features", run, pictures, "--out", tmp_path / "f.csv")
    assert "no folder" in fails(
        capsys, "features", run, pictures, "--out", tmp_path / "x" / "f.npz"
    )
    assert "layer='9'" in fails(capsys, "features", run, pictures, "--out", out, "--layer", "9")
    assert "at least 2" in fails(capsys, "probe", run, "--examples", "1")
