"""The seam of modalities: a stranger's is read, batched, looked at and prepared like ours."""

import dataclasses
import json
import pathlib
import pickle
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import toy_eeg

from d2v_jax.cli.main import main
from d2v_jax.common import fields
from d2v_jax.common.checks import ConfigError, UserError
from d2v_jax.data.inspect.inspection import inspect
from d2v_jax.data.loader import open_batches
from d2v_jax.data.modality import OURS, Data, data_class
from d2v_jax.data.prepare.prepare import prepare
from d2v_jax.measure import data_bench

PLAIN = dict(
    split="train",
    weights=(),
    temperature=1.0,
    threads=1,
    workers=0,
    max_bad_share=0.1,
    labels="none",
    label_names=(),
    per_class=0,
    balance=False,
    samples=16,
)


@pytest.fixture
def recordings(tmp_path: pathlib.Path) -> pathlib.Path:
    """Twelve recordings of four channels, two seconds at 32 Hz."""
    folder = tmp_path / "eeg"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(12):
        wave_ct = rng.normal(number, 0.1, (4, 64)).astype(np.float32)
        np.save(folder / f"{number:02d}.npy", wave_ct)
    return folder


def first(data: Data, **options) -> list[dict[str, np.ndarray]]:
    with open_batches(data, batch_size=4, **{"seed": 3, **options}) as batches:
        return [next(batches) for _ in range(3)]


def same(one, two) -> bool:
    return all(np.array_equal(a[key], b[key]) for a, b in zip(one, two) for key in a)


def test_a_strangers_batches(recordings):
    data = data_class("toy_eeg")(source=str(recordings), **PLAIN)
    batches = first(data)
    assert {key: (array.shape, array.dtype) for key, array in batches[0].items()} == {
        key: (one.shape, np.dtype(one.dtype))
        for key, one in data.form(data.example_shape, 4).items()
    }
    for batch in batches:  # each example is of the record that its id names
        means = batch["inputs"].mean((1, 2))
        np.testing.assert_allclose(means, batch["example_id"], atol=0.1)
    ids = np.concatenate([batch["example_id"] for batch in batches])
    assert sorted(ids) == list(range(12))  # a round
    assert same(batches, first(data)) and not same(batches, first(data, seed=4))
    assert same(batches, first(dataclasses.replace(data, threads=2, workers=1)))
    assert same(batches[2:], first(data, start_step=2))
    twice = dataclasses.replace(data, source=f"{recordings} + {recordings}", weights=(1.0, 3.0))
    assert len(twice.open().source) == 24 and first(twice)
    assert pickle.loads(pickle.dumps(data.open())).follows == ("toy eeg", 16)


def test_unreadable_records_of_a_stranger(recordings):
    (recordings / "05.npy").write_bytes(b"short")
    data = toy_eeg.Data(source=str(recordings), **PLAIN)
    with open_batches(data, batch_size=4, seed=3) as batches:
        for _ in range(4):
            next(batches)
        assert batches.faults == {"05.npy": "too short"}


def test_a_stranger_is_inspected_and_measured(recordings, tmp_path, monkeypatch):
    data = toy_eeg.Data(source=str(recordings), **PLAIN)
    (recordings / "05.npy").write_bytes(b"short")
    said = inspect(data, tmp_path / "out", None)
    assert "recordings            12" in said and "05.npy: too short" in said
    assert "shape of inputs       [4, 16]" in said
    [found] = json.loads((tmp_path / "out" / "inspect.json").read_text())
    assert (found["records"], found["readable"], list(found["bad"])) == (12, 11, ["05.npy"])
    monkeypatch.setattr(data_bench, "WORKERS", ())
    assert "no plain loop" in data_bench.bench(data, 0.05, None)


def test_a_stranger_prepares_where_it_can(recordings, tmp_path, capsys):
    plain = toy_eeg.Data(source=str(recordings), **PLAIN)
    with pytest.raises(UserError, match="modality toy_eeg has no prepared form"):
        prepare(plain, tmp_path / "out", 1, 1, None)
    assert not (tmp_path / "out").exists()
    data = toy_eeg.Preparing(source=str(recordings), **PLAIN)
    assert "12 records in 1 shard" in prepare(data, tmp_path / "out", 1, 1, None)
    ready = dataclasses.replace(data, source=str(tmp_path / "out"))
    assert same(first(data), first(ready))
    assert main(["data", "inspect", str(tmp_path / "out")]) == 2
    assert "was prepared for toy_eeg" in capsys.readouterr().err


def test_what_a_stranger_does_not_have(recordings):
    data = toy_eeg.Data(source=str(recordings), **PLAIN)
    with pytest.raises(UserError, match="modality toy_eeg has no examples with labels"):
        data.exam(None, 10, 0)
    with pytest.raises(UserError, match="modality toy_eeg has no folders of inputs"):
        data.inputs_of(recordings, None, 60.0)
    with pytest.raises(UserError, match="is no text; a tokenizer is trained on text"):
        data.train_tokenizer(recordings / "out", 300)
    with pytest.raises(UserError, match="--tokenizer x: this is a model of toy_eeg"):
        data.with_tokenizer("x", None)
    assert data.with_tokenizer(None, None) is data and data.found_in(recordings) is data
    assert data.rate((4, 16)) is None and data.counted is None


def test_inputs_of_a_stranger(recordings):
    data = toy_eeg.Data(source=str(recordings), **PLAIN)
    given = np.arange(10 * 64, dtype=np.float32).reshape(10, 4, 16)
    one, two = data.cut_inputs(given, None, large=False)
    assert one.order == list(range(8)) and two.order == [8, 9]
    assert one.arrays["inputs"].shape == two.arrays["inputs"].shape == (8, 4, 16)
    assert np.array_equal(two.arrays["inputs"][:2], given[8:])
    with pytest.raises(
        UserError, match=r"recordings of shape \(10, 16, 4\) do not fit.*\[b, 4, 16"
    ):
        next(data.cut_inputs(given.transpose(0, 2, 1), None, False))
    with pytest.raises(UserError, match="recordings are float64; give float32"):
        next(data.cut_inputs(given.astype(float), None, False))


def test_noise_of_a_stranger(recordings):
    data = toy_eeg.Data(source=str(recordings), **PLAIN)
    batch = data.noise((4, 1000), 8, None)
    assert batch["inputs"].dtype == np.float32 and abs(batch["inputs"].std() - 1) < 0.05
    assert batch["example_id"].tolist() == list(range(8))


def test_classes_are_found_by_name(tmp_path, monkeypatch):
    for name in OURS:
        found = data_class(name)
        assert issubclass(found, Data) and found.modality == name
    assert data_class("toy_eeg") is toy_eeg.Data
    with pytest.raises(ConfigError, match="modality='imge' is not one of .*mean 'image'"):
        data_class("imge")
    with pytest.raises(
        UserError, match=r"modality='nobody\.eeg': .*cannot be imported.*PYTHONPATH"
    ):
        data_class("nobody.eeg")
    for name in ("json", "toy_dataset"):
        with pytest.raises(UserError, match=f"modality='{name}': the module has no class Data"):
            data_class(name)
    (tmp_path / "strange").mkdir()
    (tmp_path / "strange" / "eeg.py").write_text("from toy_eeg import Data\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert data_class("strange.eeg") is toy_eeg.Data
    sys.modules.pop("strange.eeg")


def test_fields_are_checked_with_their_bounds(audio, config, text):
    for record in (audio("x"), config("x"), text("x")):
        fields.check(record, "data")
        record.check()
        assert list(fields.free(record, "data")) == [
            "data.threads",
            "data.workers",
            "data.max_bad_share",
        ]
    for record, words in (
        (audio("x", samples=0), "data.samples=0 must be positive"),
        (audio("x", min_samples=-1), "data.min_samples=-1 must not be negative"),
        (config("x", resize="fsat"), "data.resize='fsat' is not one of .*'fast'"),
        (config("x", flip=1.5), "data.flip=1.5 must lie between 0 and 1"),
        (config("x", jitter=-0.1), "data.jitter=-0.1 must not be negative"),
        (text("x", blocks="none"), "data.blocks='none' is not one of"),
        (text("x", tokens=0), "data.tokens=0 must be positive"),
        (text("x", temperature=0.0), "data.temperature=0.0 must be positive"),
        (text("x", workers=-1), "data.workers=-1 must not be negative"),
        (text("x", max_bad_share=2.0), "data.max_bad_share=2.0 must lie between 0 and 1"),
    ):
        with pytest.raises(ConfigError, match=words):
            fields.check(record, "data")


def test_fields_that_do_not_go_together(audio, config, text):
    for record, words in (
        (audio("x", weights=(1.0, 0.0)), r"data.weights=\(1.0, 0.0\) must be positive"),
        (config("x", weights=(-1.0,)), r"data.weights=\(-1.0,\) must be positive"),
        (text("x", weights=(-1.0,)), r"data.weights=\(-1.0,\) must be positive"),
        (audio("x", buckets=(9, 3)), r"data.buckets=\(9, 3\) must be positive numbers of samples"),
        (config("x", crop_scale=(0.5, 0.2)), r"data.crop_scale=\(0.5, 0.2\) must be two ascending"),
        (config("x", crop_ratio=(2.0, 1.0)), r"data.crop_ratio=\(2.0, 1.0\) must be two ascending"),
        (config("x", channels=2), r"data.channels=2 must be 1 \(grey\) or 3 \(RGB\)"),
    ):
        with pytest.raises(ConfigError, match=words):
            record.check()
    pixels = dict(patch_size=16, normalize="dataset", mean=(0.5,) * 3, std=(0.5,) * 3)
    for record, frontend, words in (
        (audio("x", buckets=(99_000,)), {}, "a batch of train.batch_size . data.samples = 32000"),
        (config("x", image_size=20), pixels, "data.image_size=20 is not a multiple of frontend.pa"),
        (config("x", channels=1), pixels, r"frontend.mean=.* must have data.channels=1 entries"),
        (text("x", tokens=9), {"max_tokens": 8}, "data.tokens=9 exceeds frontend.max_tokens=8"),
    ):
        with pytest.raises(ConfigError, match=words):
            record.check_with(SimpleNamespace(**frontend), 8)
    config("x").check_with(SimpleNamespace(**pixels), 8)
    text("x", tokens=8).check_with(SimpleNamespace(max_tokens=8), 8)
    audio("x").check_batches(8, 4)
    with pytest.raises(
        ConfigError, match="batches of 9 examples, which are not a multiple of trai"
    ):
        audio("x").check_batches(9, 2)
    mixed = audio("x", samples=4_000, buckets=(2_000, 4_000))
    assert mixed.example_shapes == ((2_000,), (4_000,)) and mixed.batch_sizes(8) == (16, 8)
    with pytest.raises(ConfigError, match="batches of 9 examples of 4000 samples, which are not"):
        mixed.check_batches(9, 2)


def test_a_tokenizer_belongs_to_its_model(text, tmp_path):
    data = text("x")
    data.check_frontend(SimpleNamespace(vocab_size=261, mask_id=260, pad_id=1))
    for vocab_size, mask_id in ((260, 259), (261, 259)):
        with pytest.raises(UserError, match="has 261 ids.*set them to 261 and 260"):
            frontend = SimpleNamespace(vocab_size=vocab_size, mask_id=mask_id, pad_id=1)
            data.check_frontend(frontend)
    assert dataclasses.replace(data, tokenizer="").found_in(tmp_path).tokenizer == "bytes"
    for name in ("vocab.json", "merges.txt"):
        (tmp_path / name).touch()
    assert data.found_in(tmp_path).tokenizer == str(tmp_path)


def test_what_people_count(audio, config, text):
    assert audio("x").rate((8_000,)) == ("seconds of sound", 0.5)
    assert text("x").rate((512,)) == ("tokens", 512) and config("x").rate((16, 16, 3)) is None
