"""fairseq's .km files: labels of a manifest's recordings, and what they are called."""

import pickle

import numpy as np
import pytest
from sounds import wav

from d2v_jax.common.checks import UserError
from d2v_jax.data.loader import open_batches
from d2v_jax.data.units import units
from d2v_jax.data.units.km import Km

LENGTHS = {"a": 9_000, "b": 12_345, "c": 20_000}
COUNTS = {name: (length - 400) // 320 + 1 for name, length in LENGTHS.items()}


@pytest.fixture
def folder(tmp_path):
    """Label l + 100 of each recording is at place l; they stand in the dictionary backwards."""
    (tmp_path / "waves").mkdir()
    for name, length in LENGTHS.items():
        path = tmp_path / "waves" / f"{name}.wav"
        path.write_bytes(wav(np.arange(length, dtype=np.int16)))
    rows = [f"{name}.wav\t{length}" for name, length in LENGTHS.items()]
    (tmp_path / "train.tsv").write_text("\n".join([str(tmp_path / "waves"), *rows]) + "\n")
    lines = [" ".join(str(100 + place) for place in range(count)) for count in COUNTS.values()]
    (tmp_path / "train.km").write_text("\n".join(lines) + "\n")
    labels = [f"{label} 1" for label in reversed(range(100, 200))]
    (tmp_path / "dict.km.txt").write_text("\n".join(labels) + "\n")
    return tmp_path


def known(folder, **changes):
    fields = dict(units=(str(folder / "train.km"),), unit_classes=(104,), unit_special=4)
    return fields | changes


@pytest.mark.parametrize("kind", ["train.tsv", "waves"])
def test_crops_have_the_clusters_of_their_labels(audio, folder, kind):
    cfg = audio(folder / kind, **known(folder))
    with open_batches(cfg, seed=0, batch_size=8) as batches:
        for batch in (next(batches) for _ in range(4)):
            for row, found_ls in enumerate(batch["units"]):
                start = int(batch["inputs"][row, 0])
                have = list(COUNTS.values())[batch["example_id"][row]]
                first, count = units.of_crop(start, 4_000, 50.0, have)
                want = np.full(len(found_ls), units.NONE)
                want[:count] = 99 - np.arange(first, first + count)
                assert np.array_equal(found_ls[:, 0], want)


def test_a_file_travels_as_its_path_and_is_told_from_others(folder):
    one = Km(str(folder / "train.km"))
    again = pickle.loads(pickle.dumps(one))
    assert len(pickle.dumps(one)) < 300 and again.fingerprint == one.fingerprint
    assert np.array_equal(again.ids("c.wav"), one.ids("c.wav")) and len(one.ids("c.wav")) == 62
    text = (folder / "train.km").read_text()
    (folder / "train.km").write_text(text.removesuffix("\n"))  # a last line without an end
    assert np.array_equal(Km(one.path).ids("c.wav"), one.ids("c.wav"))
    (folder / "train.km").write_text(text.replace("100 101", "101 100", 1))
    assert Km(one.path).fingerprint != one.fingerprint


def fewer_lines(text):
    return text.split("\n", 1)[1]


def without_a_label(text):
    return "\n".join(line for line in text.split("\n") if not line.startswith("105"))


BAD = [
    ("train.km", None, {}, "train.km' cannot be read"),
    ("train.km", fewer_lines, {}, "train.km' has 2 lines, and the manifest beside it 3 recordings"),
    ("train.tsv", None, {}, "there is no manifest .*train.tsv"),
    ("dict.km.txt", None, {}, "needs dict.km.txt beside it, which cannot be read"),
    ("dict.km.txt", lambda text: "", {}, "a line 'LABEL COUNT' for each cluster"),
    ("dict.km.txt", lambda text: text + "100 1\n", {}, "no label twice"),
    ("dict.km.txt", without_a_label, {}, "a.wav: has the label '105' .*which dict.km.txt lacks"),
    ("train.km", lambda text: text, dict(unit_classes=(103,)), r"=\(103,\) has room for 99 .*104"),
    (
        "train.km",
        lambda text: text,
        dict(unit_rate=100.0),
        "125 at 100 a second.* clusters.rate",
    ),
    ("train.tsv", lambda text: text.replace("b.wav", "x.wav"), {}, "has no units of 'b.wav'"),
]


@pytest.mark.parametrize(("file", "spoil", "changes", "words"), BAD)
def test_what_does_not_fit_is_named(audio, folder, file, spoil, changes, words):
    path = folder / file
    text = path.read_text()
    path.unlink()
    if spoil is not None:
        path.write_text(spoil(text))
    cfg = audio(folder / "waves", **known(folder, **changes))
    with pytest.raises(UserError, match=words):
        with open_batches(cfg, seed=0, batch_size=4) as batches:
            for _ in range(9):
                next(batches)
