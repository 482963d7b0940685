"""Sound that TFDS prepared is read without TensorFlow, however a feature holds it."""

import json
import logging
import pathlib
import pickle
import shutil

import numpy as np
import pytest
import tensorflow_datasets as tfds
from sounds import encoded, tone

from d2v_jax.common.checks import UserError
from d2v_jax.data.audio.waves import decode, utterance
from d2v_jax.data.loader import open_batches
from d2v_jax.data.records import BadRecord
from d2v_jax.data.stores.tfds_folder import find

COUNT = 20
AUDIO = "tensorflow_datasets.core.features.audio_feature.Audio"


def samples_of(number: int) -> np.ndarray:
    return (tone(5_000 + number, 200 + number) * 32_768).astype(np.int64)


class Speech(tfds.core.GeneratorBasedBuilder):
    """Sound in every form; `kinds` are made of it by giving the features other names."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        many = (None,)
        features = {
            "flac": tfds.features.Tensor(shape=(), dtype=np.object_),
            "ints": tfds.features.Tensor(shape=many, dtype=np.int64),
            "floats": tfds.features.Tensor(shape=many, dtype=np.float32),
            "zipped": tfds.features.Tensor(shape=many, dtype=np.int64, encoding="zlib"),
            "stereo": tfds.features.Tensor(shape=(None, 2), dtype=np.int64),
            "text": tfds.features.Text(),
            "speaker_id": np.int64,
            "accent": tfds.features.ClassLabel(names=["dry", "wet"]),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(COUNT), "test": self._generate_examples(3)}

    def _generate_examples(self, count: int):
        for number in range(count):
            wave = samples_of(number)
            yield (
                number,
                {
                    "flac": encoded(wave.astype(np.int16), "FLAC", subtype="PCM_16"),
                    "ints": wave,
                    "zipped": wave,
                    "floats": wave.astype(np.float32) / 32_768,
                    "stereo": np.stack([wave, -wave // 2], 1),
                    "text": f"number {number}",
                    "speaker_id": 100 - number % 3,
                    "accent": number % 2,
                },
            )


@pytest.fixture(scope="session")
def _plain(tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("speech")
    Speech(data_dir=str(folder), file_format="array_record").download_and_prepare()
    return folder


@pytest.fixture
def described(_plain, tmp_path, monkeypatch):
    """Describes one of the forms as a feature `Audio`, as TFDS does where it has TensorFlow."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    monkeypatch.setenv("D2V_CACHE", str(tmp_path / "cache"))
    shutil.copytree(_plain, tmp_path / "tfds")

    def describe(key: str, others: tuple[str, ...] = (), **audio) -> pathlib.Path:
        path = tmp_path / "tfds" / "speech" / "1.0.0" / "features.json"
        features = json.loads((_plain / "speech" / "1.0.0" / "features.json").read_text())
        nodes = features["featuresDict"]["features"]
        node = nodes[key]["tensor"] | {"sampleRate": "16000"} | audio
        nodes[key] = {"pythonClassName": AUDIO, "audio": node}
        kept = {k: v for k, v in nodes.items() if k in (key, "text", "speaker_id", *others)}
        features["featuresDict"]["features"] = kept
        path.write_text(json.dumps(features))
        return path.parent

    return describe


LAZY = {"lazyDecode": True, "dtype": "int64", "shape": {"dimensions": ["-1"]}, "fileFormat": "flac"}


@pytest.mark.parametrize("key", ["flac", "ints", "floats", "zipped"])
def test_every_form(audio, described, key: str):
    described(key, **(LAZY if key == "flac" else {}))
    source = audio("tfds:speech").records()
    assert len(source) == COUNT and source.class_names == ("100", "98", "99")
    numbers = set()
    for index in range(COUNT):
        record = source.read(index)
        number = int(record.text.removeprefix("number "))
        numbers.add(number)
        assert record.name == f"tfds:speech train record {index}"
        assert source.class_names[record.label] == str(100 - number % 3)
        assert source.lengths[index] == 5_000 + number
        wave = decode(record.data)
        assert np.array_equal(utterance(wave).samples, samples_of(number))
    assert numbers == set(range(COUNT))
    other = pickle.loads(pickle.dumps(source))
    assert np.array_equal(decode(other.read(7).data), decode(source.read(7).data))
    with open_batches(audio("tfds:speech"), seed=0, batch_size=4) as batches:
        assert next(batches)["inputs"].shape == (4, 4_000)


def test_channels_and_other_rates(audio, described):
    described("stereo", sampleRate="32000")
    source = audio("tfds:speech", samples=2_000).records()
    record = source.read(3)
    number = int(record.text.removeprefix("number "))
    assert source.lengths[3] == (5_000 + number) // 2
    assert record.data.dtype == np.float32 and abs(len(record.data) - source.lengths[3]) <= 1
    assert 0.05 < np.abs(record.data).max() < 0.2  # a quarter of the tone


def test_samples_of_32_bits(audio, described):
    described("ints", sampleRate="16000")
    source = audio("tfds:speech").records()
    wide = source._spec
    from tensorflow_datasets.proto import tf_example_pb2

    feature = tf_example_pb2.Example().features.feature["ints"]
    feature.int64_list.value.extend([0, 2**30, -(2**31)])
    assert wide.sound(feature).tolist() == [0.0, 0.5, -1.0]


def test_a_tensor_named_like_sound(audio, described):
    path = described("flac") / "features.json"
    nodes = json.loads(path.read_text())
    node = nodes["featuresDict"]["features"]["flac"]
    node["tensor"] = node.pop("audio")
    del node["tensor"]["sampleRate"]
    path.write_text(json.dumps(nodes))
    assert audio("tfds:speech").records().lengths.min() == 5_000


def test_labels_and_splits(audio, described):
    folder = described("ints", ("accent",))
    path = folder / "features.json"
    path.write_text(path.read_text().replace('"accent"', '"label"'))
    (folder / "accent.labels.txt").rename(folder / "label.labels.txt")
    source = audio("tfds:speech/1.0.0", split="test").records()
    assert len(source) == 3 and source.class_names == ("dry", "wet")
    assert source.read(0).label is None  # the records have no feature of this name
    parts = [audio("tfds:speech", split=s).records() for s in ("train[:25%]", "train[25%:]")]
    assert [len(part) for part in parts] == [5, 15]
    assert parts[0].fingerprint != parts[1].fingerprint
    texts = [part.read(index).text for part in parts for index in range(len(part))]
    assert len(set(texts)) == COUNT


def test_lengths_are_kept(audio, described, tmp_path, monkeypatch):
    described("ints")
    first = audio("tfds:speech").records()
    monkeypatch.setattr("d2v_jax.data.audio.lists.tfds_audio.TfdsAudio._measure", None)
    again = audio("tfds:speech").records()
    assert np.array_equal(first.lengths, again.lengths) and first.class_names == again.class_names
    assert first.fingerprint == again.fingerprint
    (kept,) = (tmp_path / "cache" / "lengths").iterdir()
    kept.write_bytes(kept.read_bytes()[:50])
    monkeypatch.undo()
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    monkeypatch.setenv("D2V_CACHE", str(tmp_path / "cache"))
    assert np.array_equal(audio("tfds:speech").records().lengths, first.lengths)


def test_a_cache_that_cannot_be_written(audio, described, tmp_path, monkeypatch, caplog):
    described("ints")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("D2V_CACHE", str(tmp_path / "file"))
    with caplog.at_level(logging.WARNING, "d2v"):
        assert len(audio("tfds:speech").records()) == COUNT
    assert "cannot keep lengths" in caplog.text


def test_damaged_records(audio, described):
    folder = described("flac", **LAZY)
    source = audio("tfds:speech").records()
    source._records = [b"\xff\xff", b""]
    with pytest.raises(BadRecord, match="unreadable record"):
        source.read(0)
    with pytest.raises(BadRecord, match="no feature 'flac'"):
        source.read(1)
    next(folder.glob("*-train.array_record*")).unlink()
    with pytest.raises(UserError, match=r"the file .*array_record.* is missing"):
        audio("tfds:speech").records()


def test_errors(audio, described):
    folder = described("ints")
    with pytest.raises(UserError, match=r"'tfds:librispeech' is not prepared in .*\(there: sp"):
        audio("tfds:librispeech").records()
    with pytest.raises(UserError, match=r"tfds\.builder\('librispeech', file_format='array"):
        audio("tfds:librispeech").records()
    with pytest.raises(UserError, match=r"version '2\.0\.0' is not prepared.*there are 1\.0\.0"):
        audio("tfds:speech:2.0.0").records()
    with pytest.raises(UserError, match=r"data\.split='dev': .* has the splits train, test"):
        audio("tfds:speech", split="dev").records()
    info = folder / "dataset_info.json"
    fields = json.loads(info.read_text())
    info.write_text(json.dumps(fields | {"fileFormat": "tfrecord"}))
    with pytest.raises(UserError, match=r"stored as tfrecord.*convert_format"):
        audio("tfds:speech").records()
    nodes = json.loads((folder / "features.json").read_text())
    del nodes["featuresDict"]["features"]["ints"]
    (folder / "features.json").write_text(json.dumps(nodes))
    with pytest.raises(UserError, match=r"no feature with sound \(it has: speaker_id, text\)"):
        audio("tfds:speech").records()


def test_the_newest_version(audio, described):
    folder = described("ints")
    for version in ("0.9.0", "1.0.10"):
        shutil.copytree(folder, folder.with_name(version))
    assert find("tfds:speech").name == "1.0.10"
    assert find("tfds:speech:0.9.0").name == find("tfds:speech/0.9.0").name == "0.9.0"


def test_configurations(audio, described, tmp_path):
    described("ints")
    top = tmp_path / "tfds"
    (top / "speech").rename(top / "clean")
    (top / "speech").mkdir()
    (top / "clean").rename(top / "speech" / "clean")
    assert len(audio("tfds:speech").records()) == COUNT
    shutil.copytree(top / "speech" / "clean", top / "speech" / "other")
    assert len(audio("tfds:speech/other:1.0.0").records()) == COUNT
    with pytest.raises(UserError, match=r"configurations clean, other; give one, as tfds:sp"):
        audio("tfds:speech").records()
