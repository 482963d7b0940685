"""From recordings to units: what is clustered, kept when interrupted, and said of it."""

import dataclasses
import json

import jax
import numpy as np
import pytest
import soundfile
import systems

import d2v_jax
from d2v_jax.cli import main
from d2v_jax.data.audio import mfcc
from d2v_jax.data.builtin.tones import Tones
from d2v_jax.data.units.units import INDEX, Units
from d2v_jax.train import state
from d2v_jax.transfer import encoder
from d2v_jax.transfer.units import clusters, frames, making, report


@pytest.fixture(scope="module")
def spoken(tmp_path_factory):
    """Twelve short recordings, and beside them when their phones are said."""
    folder, source = tmp_path_factory.mktemp("spoken"), Tones()
    for index in source.lengths.argsort()[:12].tolist():
        soundfile.write(folder / f"{index}.wav", source.read(index).data, 16_000)
        phones = source.said(index)["phone"]
        lines = "".join(f"{first} {last} {name}\n" for name, first, last in phones)
        (folder / f"{index}.phn").write_text(lines)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """An untrained HuBERT with 50 frames a second."""
    recipe = systems.smoke("hubert_base")
    trunk = dataclasses.replace(recipe.objective.cfg.trunk, depth=2)
    recipe = recipe.with_sections(trunk=trunk)
    folder = tmp_path_factory.mktemp("model") / "m"
    params = jax.jit(lambda: state.create(recipe).params)()
    encoder.Encoder(recipe, params, None, None, 0).save(folder)
    return folder


def units(*words) -> int:
    return main.main(["units", *map(str, words)])


def contents(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_each_frame_has_the_nearest_centre(spoken, tmp_path, capsys):
    assert units(spoken, tmp_path / "u", "--clusters", 20) == 0
    said = capsys.readouterr().out
    one = Units(str(tmp_path / "u"))
    assert (one.rate, one.clusters) == (100, 20) and one.centers().shape == (20, 39)
    source = Tones()
    for path in spoken.glob("*.wav"):
        wave_s = source.read(int(path.stem)).data / np.float32(2**15)
        distances = np.square(mfcc.features(wave_s)[:, None] - one.centers()).sum(-1)
        assert np.array_equal(one.ids(path.name), distances.argmin(1))
    found = one.about["report"]
    assert found["units"] == sum(len(one.ids(path.name)) for path in spoken.glob("*.wav"))
    assert found["used"] == 20 and 3 < found["entropy"] < np.log2(20)
    # Chance: the most frequent phone, no information.
    assert found["phone_purity"] > 2 * found["most_frequent_phone"] and found["pnmi"] > 0.35
    for name in ("entropy", "phone purity", "cluster purity", "PNMI"):
        assert name in said
    assert (tmp_path / "u" / report.PICTURE).stat().st_size > 5_000
    assert not list(tmp_path.glob(".u*")), "what was kept on the way is gone"


@pytest.mark.parametrize("stop", ["before the first part", "between parts"])
def test_interrupted_it_goes_on_to_the_same(spoken, tmp_path, monkeypatch, caplog, stop):
    monkeypatch.setattr(making, "MOST", 5)
    assert units(spoken, tmp_path / "whole", "--clusters", 6) == 0
    nearest, calls = clusters.nearest, []

    def interrupted(*args):
        calls.append(None)
        if len(calls) > (stop == "between parts"):
            raise KeyboardInterrupt
        return nearest(*args)

    monkeypatch.setattr(clusters, "nearest", interrupted)
    assert units(spoken, tmp_path / "u", "--clusters", 6) == 130
    assert not (tmp_path / "u").exists()
    monkeypatch.setattr(clusters, "nearest", nearest)
    monkeypatch.setattr(clusters, "learned", None)  # its centres are kept
    assert units(spoken, tmp_path / "u", "--clusters", 6) == 0
    first, again = contents(tmp_path / "whole"), contents(tmp_path / "u")
    one, other = (json.loads(each.pop(INDEX)) for each in (first, again))
    assert first == again
    one["report"].pop("inertia_per_frame"), other["report"].pop("inertia_per_frame", None)
    assert one == other
    if stop == "between parts":
        assert "5 recordings have their units from before" in caplog.text


def test_more_recordings_like_the_first(spoken, tmp_path):
    assert units(spoken, tmp_path / "u", "--clusters", 6) == 0
    test = tmp_path / "test"
    test.mkdir()
    path = next(spoken.glob("*.wav"))
    (test / path.name).write_bytes(path.read_bytes())
    assert units(test, tmp_path / "t", "--like", tmp_path / "u") == 0
    one, other = Units(str(tmp_path / "u")), Units(str(tmp_path / "t"))
    assert np.array_equal(one.centers(), other.centers())
    assert np.array_equal(one.ids(path.name), other.ids(path.name))
    assert "pnmi" not in other.about["report"], "no phones are known here"


def test_layers_of_a_model(spoken, model, tmp_path, monkeypatch):
    assert units(spoken, tmp_path / "u", "--of", model, "--layer", 1, "--clusters", 5) == 0
    one, loaded = Units(str(tmp_path / "u")), d2v_jax.load(model)
    assert one.rate == 50 and one.about["of"] == f"layer 1 of {model}"
    path = next(spoken.glob("*.wav"))
    wave_s = Tones().read(int(path.stem)).data
    (found_td,) = loaded.features([wave_s], 1, pool=None)
    assert np.array_equal(one.ids(path.name), clusters.nearest(found_td, one.centers())[0])
    # Long recordings in parts: no frame is lost, and their beginning is as if it were alone.
    monkeypatch.setattr(frames, "LONGEST", 6_500)
    layer = frames.Layer(model, "1", "audio")
    (parts_td,) = layer.of([wave_s])
    assert len(parts_td) == len(found_td) and not np.allclose(parts_td, found_td)


def test_measures_of_what_is_known():
    """Two phones of equal frequency: clusters that say all of them, half, nothing."""
    for joint, purity, cluster_purity, pnmi in (
        ([[8, 0], [0, 8]], 1.0, 1.0, 1.0),
        ([[8, 0], [0, 4], [0, 4]], 1.0, 0.75, 1.0),
        ([[4, 4], [4, 4]], 0.5, 0.5, 0.0),
        ([[8, 8]], 0.5, 1.0, 0.0),
    ):
        joint_kp = np.array(joint)
        found = report.numbers(joint_kp.sum(1), joint_kp)
        assert found["phone_purity"] == purity and found["cluster_purity"] == cluster_purity
        assert found["pnmi"] == pytest.approx(pnmi, abs=1e-12)
        assert found["perplexity"] == pytest.approx(2 ** found["entropy"])
    assert report.numbers(np.array([4, 4, 0]), np.zeros((3, 0)))["entropy"] == 1


def test_a_frame_has_the_phone_of_its_centre():
    """Centres of frames of 400 samples every 160: 200, 360, 520, 680."""
    ids = np.array([0, 1, 2, 0])
    spans = [("a", 0, 360), ("b", 360, 521), ("c", 521, 600), ("d", 600, 9_000)]
    joint_kp, names = report.joint([(ids, spans)], 3, 160, 400)
    assert names == ("a", "b", "d")
    assert joint_kp.tolist() == [[1, 0, 1], [0, 1, 0], [0, 1, 0]]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--clusters", "0"), "--clusters 0: must be positive"),
        (("--clusters", "100000"), "--clusters 100000: there are only .* frames; give fewer"),
        (("--layer", "3"), "--layer 3: MFCCs have none; give --of CHECKPOINT too"),
        (("--of", "MODEL"), "say which --layer of it, a trunk block's number from 0 to 1"),
        (("--of", "MODEL", "--layer", "2"), "layer='2' is not .* from 0 to 1"),
        (("--like", "none"), "'none' is no folder of units"),
        (("--like", "U", "--clusters", "5"), "--clusters 5: --like .* has its own number"),
        (("--like", "U", "--of", "MODEL", "--layer", "1"), "its centres are of MFCCs, not of lay"),
        (("OUT",), "is there already; remove it, or give a new folder"),
    ],
)
def test_bad_input(spoken, model, tmp_path, capsys, words, message):
    names = {"MODEL": str(model), "U": str(tmp_path / "u")}
    if "U" in words:
        units(spoken, tmp_path / "u", "--clusters", 4)
    out = spoken if words == ("OUT",) else tmp_path / "new"
    words = [names.get(word, word) for word in words if word != "OUT"]
    assert units(spoken, out, *words) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("d2v units: ")
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(error)


def test_two_recordings_of_one_name(spoken, tmp_path, capsys):
    other = tmp_path / "other"
    other.mkdir()
    path = next(spoken.glob("*.wav"))
    (other / path.name).write_bytes(path.read_bytes())
    assert units(f"{spoken} + {other}", tmp_path / "u", "--clusters", 4) == 2
    assert f"two recordings are called '{path.name}'" in capsys.readouterr().err


@pytest.mark.slow
def test_two_iterations(spoken, tmp_path):
    """As docs/hubert.md has them, each of two steps; what comes out has features."""
    one, two, runs = tmp_path / "1", tmp_path / "2", (tmp_path / "r1", tmp_path / "r2")
    recipe = [
        *("pretrain", "--config", "hubert_base:smoke", f"--config.data.source={spoken}"),
        *("--config.data.samples=8000", "--config.data.min_samples=8000"),
        *("--config.train.steps=2", "--config.optimizer.warmup_steps=1"),
    ]
    asked = lambda run, units: [*recipe, "--workdir", str(run), f"--config.data.units=('{units}',)"]
    of_mfcc = ["--config.clusters.classes=(14,)", "--config.clusters.rate=100"]
    assert units(spoken, one, "--clusters", 10) == 0
    assert main.main(asked(runs[0], one)) == 2, (
        "the smoke recipe has other clusters, at 50 a second"
    )
    assert not runs[0].exists()
    assert main.main([*asked(runs[0], one), *of_mfcc]) == 0
    assert units(spoken, two, "--of", runs[0], "--layer", 1, "--clusters", 15) == 0
    assert main.main([*asked(runs[1], two), "--config.clusters.classes=(19,)"]) == 0
    found = d2v_jax.load(runs[1]).features([np.zeros(16_000, np.float32)], "all", pool=None)
    assert found[0].shape[0] == 49
    out = tmp_path / "f.npz"
    assert main.main(["features", str(runs[1]), str(spoken), "--out", str(out)]) == 0
    assert np.load(out)["features"].shape[0] == 12
