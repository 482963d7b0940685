"""Units travel with the crops they belong to, whatever holds the recordings."""

import json
import pickle

import numpy as np
import pytest
from sounds import wav

from d2v_jax.common.checks import ConfigError, UserError
from d2v_jax.data.loader import open_batches
from d2v_jax.data.prepare import prepare
from d2v_jax.data.units import units

LENGTHS = {"a": 9_000, "b": 12_345, "c": 20_000}
CLUSTERS = 125


@pytest.fixture
def folder(tmp_path):
    """Waves that say in each sample where it is: sample s of each is s."""
    folder = tmp_path / "waves"
    folder.mkdir()
    for name, length in LENGTHS.items():
        (folder / f"{name}.wav").write_bytes(wav(np.arange(length, dtype=np.int16)))
    return folder


def written(path, rate=50.0, names=("a", "b", "c"), shift=0, clusters=CLUSTERS, spoil=None):
    """Unit l of each recording is l + shift."""
    counts = np.array([(LENGTHS[n] - 400) // round(16_000 / rate) + 1 for n in names])
    ids = np.concatenate([np.arange(count) + shift for count in counts])
    if spoil:
        ids, counts = spoil(ids, counts)
    part = units.Part([f"{name}.wav" for name in names], ids, counts)
    units.write(path, lambda: [part], np.zeros((clusters, 2), np.float32), {"rate": rate})
    return str(path)


def manifest(folder):
    rows = [f"{name}.wav\t{length}" for name, length in LENGTHS.items()]
    path = folder.parent / "train.tsv"
    path.write_text("\n".join([str(folder), *rows]) + "\n")
    return path


def prepared(audio, folder):
    prepare.prepare(audio(folder), folder.parent / "shards", 1, 1, None)
    return folder.parent / "shards"


@pytest.mark.parametrize("rate", [50.0, 100.0])
@pytest.mark.parametrize("kind", ["folder", "manifest", "prepared", "processes"])
def test_a_crop_has_the_units_of_its_own_place(audio, folder, tmp_path, kind, rate):
    source = {"manifest": manifest, "prepared": lambda f: prepared(audio, f)}.get(kind, str)(folder)
    sets = (written(tmp_path / "one", rate), written(tmp_path / "two", rate, shift=3, clusters=256))
    known = dict(units=sets, unit_rate=rate, unit_classes=(129, 260), unit_special=4)
    workers = 1 if kind == "processes" else 0
    cfg = audio(source, **known, workers=workers)
    form = cfg.form((4_000,), 8)["units"]
    ends = 0
    with open_batches(cfg, seed=0, batch_size=8) as batches:
        for batch in (next(batches) for _ in range(5)):
            assert (batch["units"].shape, batch["units"].dtype) == (form.shape, form.dtype)
            for row, found_ls in enumerate(batch["units"]):
                start = int(batch["inputs"][row, 0])
                length = list(LENGTHS.values())[batch["example_id"][row]]
                have = (length - 400) // round(16_000 / rate) + 1
                first, count = units.of_crop(start, 4_000, rate, have)
                want = np.full(len(found_ls), units.NONE)
                want[:count] = np.arange(first, first + count)
                assert np.array_equal(found_ls[:, 0], want)
                assert np.array_equal(found_ls[:count, 1], want[:count] + 3)
                ends += count < len(found_ls)
    assert ends, "no crop reaches the end of a recording"


def test_bands_need_no_file(audio):
    known = dict(units=(units.BANDS,), unit_classes=(23,))
    cfg = audio("builtin:tones", **known, samples=16_000, min_samples=16_000)
    with open_batches(cfg, seed=0, batch_size=4) as batches:
        found_bls = next(batches)["units"]
    assert found_bls.shape == (4, 50, 1) and len(np.unique(found_bls)) > 5
    assert (found_bls[:, :48] >= 0).all() and found_bls.max() < 23
    assert (found_bls[:, -1] == units.NONE).all(), "its frame would end behind the crop"


def test_other_units_make_other_batches(audio, folder, tmp_path):
    prints = set()
    for sets in ((), ("one",), ("two",), ("one", "two")):
        paths = tuple(written(tmp_path / one, shift=len(one)) for one in sets)
        cfg = audio(folder, units=paths, unit_classes=(200,) * len(paths))
        with open_batches(cfg, seed=0, batch_size=2) as batches:
            prints.add(batches.fingerprint)
    assert len(prints) == 3, "the first two sets are equal"


def test_they_travel_to_processes_as_a_path(folder, tmp_path):
    one = units.Units(written(tmp_path / "one"))
    assert len(pickle.dumps(one)) < 300
    assert np.array_equal(pickle.loads(pickle.dumps(one)).ids("b.wav"), one.ids("b.wav"))


@pytest.mark.parametrize(
    ("made", "changes", "words"),
    [
        (dict(rate=100.0), {}, "has 100 units a second, and clusters.rate=50; set --config.clus"),
        (dict(names=("a", "c")), {}, r"has no units of 'b.wav' in .*waves. Make .* --like"),
        ({}, dict(unit_classes=(125,), unit_special=4), r"125 clusters, .*=\(125,\) has room for"),
        ({}, dict(units=("none",)), "'none' is no folder of units: it has no units.json. Make it"),
        ({}, dict(units=("a", "b")), r"has 2 label sets, clusters.classes=\(129,\) has 1"),
    ],
)
def test_units_that_do_not_fit_are_named(audio, folder, tmp_path, made, changes, words):
    known = dict(units=(str(tmp_path / "one"),), unit_classes=(129,), unit_special=4)
    cfg = audio(folder, **(known | changes))
    with pytest.raises((UserError, ConfigError), match=words):
        written(tmp_path / "one", **made)
        cfg.check()
        cfg.open()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda i, c: (np.where(i == 5, 200, i), c), "has the unit 200 in .*clusters 0 to 124"),
        (
            lambda i, c: (i[:-20], c - np.array([0, 0, 20])),
            "c.wav: has 42 units .*20000 samples at 16 kHz take 62 at 50 a second",
        ),
    ],
)
def test_recordings_with_other_units_are_left_out_and_named(audio, folder, tmp_path, spoil, words):
    path = written(tmp_path / "one", spoil=spoil)
    cfg = audio(folder, units=(path,), unit_classes=(125,))
    with open_batches(cfg, seed=0, batch_size=4) as batches, pytest.raises(UserError, match=words):
        for _ in range(9):
            next(batches)


def test_damage_is_named(folder, tmp_path):
    path = tmp_path / "one"
    written(path)
    about = json.loads((path / units.INDEX).read_text())
    for file, content, words in (
        (units.INDEX, b"{", "cannot be read"),
        (units.INDEX, b'{"format": "x"}', "not of the format"),
        (units.INDEX, json.dumps(about | {"format": units.FORMAT}).encode()[:-1], "cannot be"),
        (units.IDS, b"\x93NUMPY", "cannot be read"),
        (units.NAMES, b'["a"]', "do not belong together"),
    ):
        kept = (path / file).read_bytes()
        (path / file).write_bytes(content)
        with pytest.raises(UserError, match=f"is damaged: .*{words}"):
            units.Units(str(path))
        (path / file).write_bytes(kept)
    del about["rate"]
    (path / units.INDEX).write_text(json.dumps(about))
    with pytest.raises(UserError, match="lacks rate"):
        units.Units(str(path))
