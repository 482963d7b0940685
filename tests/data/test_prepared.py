"""Prepared folders are read as they were written, and refused where they were not finished."""

import json
import pathlib
import pickle

import numpy as np
import pytest
from array_record.python.array_record_module import ArrayRecordWriter
from pictures import jpeg
from sounds import encoded, tone
from tensorflow_datasets.proto import tf_example_pb2

from d2v_jax.common.checks import UserError
from d2v_jax.data.audio.waves import decode, random_crop, utterance
from d2v_jax.data.loader import open_batches
from d2v_jax.data.records import BadRecord
from d2v_jax.data.stores.prepared import looks_prepared, read_index

LISTS = {bytes: "bytes_list", int: "int64_list", float: "float_list"}


def example(**features: bytes | int | float) -> bytes:
    message = tf_example_pb2.Example()
    for key, value in features.items():
        getattr(message.features.feature[key], LISTS[type(value)]).value.append(value)
    return message.SerializeToString()


def write(folder: pathlib.Path, modality: str, records: list[bytes], **index) -> pathlib.Path:
    """Two shards and what says so."""
    folder.mkdir()
    shards = []
    for number, part in enumerate((records[:2], records[2:])):
        path = folder / f"prepared-{number}.array_record"
        writer = ArrayRecordWriter(str(path), "group_size:1")
        for record in part:
            writer.write(record)
        writer.close()
        size = path.stat().st_size
        shards.append({"file": path.name, "records": len(part), "bytes": size, "sha256": ""})
    fields = {
        "format": "d2v_jax.prepared.1",
        "modality": modality,
        "records": len(records),
        "source": "x y",
        "source_fingerprint": "s",
        "fingerprint": "f",
        "shards": shards,
        "class_names": ["ann", "bob"],
    }
    (folder / "prepared.json").write_text(json.dumps(fields | index))
    return folder


@pytest.fixture
def speech(tmp_path: pathlib.Path) -> pathlib.Path:
    """Five sounds; the last is not labelled, has no text and nothing that standardises it."""
    records = []
    for number in range(5):
        data = encoded(tone(6_000 + number), "FLAC", subtype="PCM_16")
        fields = {"audio": data, "samples": 6_000 + number, "name": f"a/{number}.wav".encode()}
        if number < 4:
            _, offset, scale = utterance(decode(data))
            fields |= {"offset": float(offset), "scale": float(scale)}
            fields |= {"label": number % 2, "text": f"text {number}".encode()}
        records.append(example(**fields))
    folder = write(tmp_path / "out", "audio", records)
    np.save(folder / "lengths.npy", np.arange(6_000, 6_005))
    return folder


def test_sounds(audio, speech):
    source = audio(speech).records()
    assert len(source) == 5 and source.class_names == ("ann", "bob") and source.fingerprint == "f"
    assert source.lengths.tolist() == [6000, 6001, 6002, 6003, 6004]
    for number in range(5):
        record = source.read(number)
        whole = utterance(decode(record.data))
        assert record.name == source.name(number) == f"a/{number}.wav"
        assert len(whole.samples) == 6_000 + number
        if number < 4:
            assert (record.label, record.text) == (number % 2, f"text {number}")
            assert record.standard[:2] == (whole.offset, whole.scale)
            assert all(isinstance(value, np.float32) for value in record.standard[:2])
        else:
            assert (record.label, record.text, record.standard) == (None, None, None)
    other = pickle.loads(pickle.dumps(source))
    assert other.read(2) == source.read(2)
    out = random_crop(source.read(1), np.random.default_rng(0), 4_000)
    assert out["scale"] == source.read(1).standard[1]
    with open_batches(audio(speech), seed=0, batch_size=4) as batches:
        assert next(batches)["inputs"].shape == (4, 4_000)


def test_the_short_are_left_out_by_name(audio, speech):
    source = audio(speech, samples=6_003).records()
    assert len(source) == 2 and sorted(source.faults) == ["a/0.wav", "a/1.wav", "a/2.wav"]


def test_images(config, tmp_path):
    records = [example(image=jpeg(n), label=n % 2, name=f"{n}.jpg".encode()) for n in range(3)]
    folder = write(tmp_path / "out", "image", [*records, example(name=b"x"), b"\xff\xff"])
    source = config(folder).records()
    assert len(source) == 5 and source.class_names == ("ann", "bob")
    record = source.read(2)
    assert (record.data, record.label, record.name) == (jpeg(2), 0, "2.jpg")
    with pytest.raises(BadRecord, match="no feature 'image'") as bad:
        source.read(3)
    assert bad.value.name == "out record 3"
    with pytest.raises(BadRecord, match="unreadable record"):
        source.read(4)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("prepared.json", True),
        ("prepared.json.part", True),
        ("prepared-3.array_record", True),
        ("prepared.jpg", False),
        ("x.array_record", False),
    ],
)
def test_what_is_recognised(tmp_path, name: str, wanted: bool):
    (tmp_path / name).write_text("")
    assert looks_prepared(str(tmp_path)) == wanted
    assert not looks_prepared(str(tmp_path / name))


AGAIN = r"damaged or was not finished.*d2v data prepare"


def test_of_another_modality(audio, config, speech):
    with pytest.raises(UserError, match="was prepared for audio, and this recipe is one of image"):
        config(speech).records()
    with pytest.raises(UserError, match="was prepared for audio, and this recipe is one of text"):
        read_index(speech, "text")


@pytest.mark.parametrize(
    ("file", "data", "message"),
    [
        ("prepared.json", None, AGAIN + " 'SOURCE'"),
        ("prepared.json", b'{"format": "d2v_jax', AGAIN),
        ("prepared.json", b"[]", "has the format None, not 'd2v_jax.prepared.1'.*" + AGAIN[-16:]),
        ("prepared.json", b'{"format": "d2v_jax.prepared.1"}', "lacks modality, records"),
        ("prepared-1.array_record", None, r"prepared-1\.array_record is missing.* 'x y'"),
        ("prepared-1.array_record", b"\x01" * 70_000, r"has 70000 bytes, not \d+.* 'x y'"),
        ("lengths.npy", None, r"lengths\.npy cannot be read"),
        ("lengths.npy", b"\x93NUMPY", r"lengths\.npy cannot be read"),
    ],
)
def test_damaged_folders(audio, speech, file: str, data: bytes | None, message: str):
    (speech / file).unlink()
    if data is not None:
        (speech / file).write_bytes(data)
    with pytest.raises(UserError, match=message):
        audio(speech).records()


def test_counts_that_disagree(audio, speech):
    np.save(speech / "lengths.npy", np.arange(4))
    with pytest.raises(UserError, match=r"shape \(4,\) for 5 records"):
        audio(speech).records()
    index = json.loads((speech / "prepared.json").read_text())
    (speech / "prepared.json").write_text(json.dumps(index | {"records": 6}))
    with pytest.raises(UserError, match=r"its shards hold 5 records, not 6"):
        audio(speech).records()


def test_a_shard_of_the_right_size_that_is_damaged(audio, speech):
    path = speech / "prepared-0.array_record"
    path.write_bytes(b"\x01" * path.stat().st_size)
    with pytest.raises(UserError, match="a shard cannot be opened"):
        audio(speech).records()
