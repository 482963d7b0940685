"""Every kind of source: what it reads, what it says when it cannot."""

import pathlib
import pickle

import numpy as np
import pytest
from array_record.python.array_record_module import ArrayRecordWriter
from pictures import encoded, jpeg, ramp
from PIL import Image
from tensorflow_datasets.proto import tf_example_pb2

from d2v_jax.common.checks import UserError
from d2v_jax.data.image.pictures import decode
from d2v_jax.data.records import BadRecord


def write_shard(path: pathlib.Path, records: list[bytes]) -> None:
    writer = ArrayRecordWriter(str(path), "group_size:1")
    for record in records:
        writer.write(record)
    writer.close()


def example(image_key: str = "image", label: int | None = None, image: bytes = b"") -> bytes:
    message = tf_example_pb2.Example()
    message.features.feature[image_key].bytes_list.value.append(image or jpeg())
    if label is not None:
        message.features.feature["label"].int64_list.value.append(label)
    return message.SerializeToString()


def check_pickles(source) -> None:
    other = pickle.loads(pickle.dumps(source))
    for index in (0, len(source) - 1):
        mine, theirs = source.read(index), other.read(index)
        assert np.array_equal(mine.data, theirs.data)
        assert (mine.label, mine.name) == (theirs.label, theirs.name)
    assert other.fingerprint == source.fingerprint


# -- folders


def test_folder_with_classes(config, folder):
    source = config(folder).records()
    assert len(source) == 20 and source.class_names == ("cats", "dogs")
    record = source.read(11)
    assert (record.name, record.label, record.data) == ("dogs/11.jpg", 1, jpeg(11))
    check_pickles(source)


def test_folder_nested_and_mixed(config, tmp_path):
    picture = Image.fromarray(ramp())
    for name, kind in (("b/c/x.PNG", "png"), ("a.WebP", "webp"), ("b/y.JPeG", "jpeg")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(encoded(picture, kind))
    for name in (".hidden.jpg", "notes.txt", ".cache/z.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(jpeg())
    (tmp_path / "b" / "loop").symlink_to(tmp_path)
    source = config(tmp_path).records()
    assert source.names == ["a.WebP", "b/c/x.PNG", "b/y.JPeG"]
    assert source.class_names is None and source.read(0).label is None
    for index in range(3):
        assert decode(source.read(index).data, 3).size == (60, 40)


def test_folder_fingerprint_follows_names_and_sizes(config, folder):
    first = config(folder).records().fingerprint
    assert config(folder).records().fingerprint == first
    moved = folder.rename(folder.with_name("elsewhere"))
    assert config(moved).records().fingerprint == first
    (moved / "cats" / "00.jpg").write_bytes(jpeg() + b"\0")
    second = config(moved).records().fingerprint
    (moved / "cats" / "00.jpg").rename(moved / "cats" / "000.jpg")
    assert len({first, second, config(moved).records().fingerprint}) == 3


def test_a_file_that_went_away_is_a_bad_record(config, folder):
    source = config(folder).records()
    (folder / "cats" / "00.jpg").unlink()
    with pytest.raises(BadRecord, match="No such file") as bad:
        source.read(0)
    assert bad.value.name == "cats/00.jpg"


def test_folder_errors(config, tmp_path):
    with pytest.raises(UserError, match=r"nowhere.*no such folder.*builtin:photos"):
        config(tmp_path / "nowhere").records()
    with pytest.raises(UserError, match=r"no image.*\.jpg, \.jpeg, .*\.png, .*\.webp"):
        config(tmp_path).records()
    (tmp_path / "a.heic").write_bytes(b"x")
    with pytest.raises(UserError, match=r"other files, such as 'a\.heic'"):
        config(tmp_path).records()
    (tmp_path / "s.array_record").write_bytes(b"x")
    with pytest.raises(UserError, match=r"holds ArrayRecord files: give .*\*\.array_record"):
        config(tmp_path).records()
    with pytest.raises(UserError, match="is a file, not a folder"):
        config(tmp_path / "a.heic").records()
    with pytest.raises(UserError, match=r"data\.source is empty"):
        config(" ").records()
    with pytest.raises(UserError, match=r"data\.split='test': .* has the split train, and"):
        config(tmp_path, split="test").records()


# -- ArrayRecord


def test_shards_of_pictures_and_examples(config, tmp_path):
    png = encoded(Image.fromarray(ramp()), "png")
    webp = encoded(Image.fromarray(ramp()), "webp")
    write_shard(tmp_path / "x-0.array_record", [jpeg(0), png, webp])
    write_shard(tmp_path / "x-1.array_record", [example(label=4), example("image/encoded")])
    source = config(tmp_path / "x-*.array_record").records()
    assert len(source) == 5 and source.class_names is None
    records = [source.read(index) for index in range(5)]
    assert [record.label for record in records] == [None, None, None, 4, None]
    for record in records:
        assert decode(record.data, 3).size == (60, 40)
    check_pickles(source)
    listed = ",".join(str(tmp_path / f"x-{n}.array_record") for n in range(2))
    assert config(listed).records().fingerprint == source.fingerprint
    write_shard(tmp_path / "x-2.array_record", [png])
    assert config(tmp_path / "x-*").records().fingerprint != source.fingerprint


def test_shard_records_that_are_no_pictures(config, tmp_path):
    records = [b"\xff\xff\xffnothing", example("picture"), jpeg()]
    write_shard(tmp_path / "x.array_record", records)
    source = config(tmp_path / "x.array_record").records()
    with pytest.raises(BadRecord, match=r"nor a tf\.train\.Example") as bad:
        source.read(0)
    assert bad.value.name == "x.array_record record 0"
    with pytest.raises(BadRecord, match="it has: picture"):
        source.read(1)
    assert source.read(2).data == jpeg()


def test_shard_errors(config, tmp_path, folder):
    with pytest.raises(UserError, match=r"'.*x-\*\.array_record' matches no file.*exists"):
        config(tmp_path / "x-*.array_record").records()
    with pytest.raises(UserError, match=r"matches no file.*does not exist"):
        config(tmp_path / "gone" / "x.array_record").records()
    with pytest.raises(UserError, match=r"matches pictures.*Give the folder"):
        config(folder / "cats" / "*.jpg").records()
    with pytest.raises(UserError, match="matches folders only"):
        config(folder / "*").records()
    broken = tmp_path / "broken.array_record"
    broken.write_bytes(b"\x01" * 100_000)
    with pytest.raises(UserError, match=r"broken\.array_record' is not a readable ArrayRecord"):
        config(broken).records()


# -- TFDS


def test_tfds(config, toy):
    source = config("tfds:toy").records()
    assert len(source) == 12 and source.class_names == ("cat", "dog", "owl")
    by_bytes = {jpeg(number): number % 3 for number in range(12)}
    assert len(by_bytes) == 12
    for index in range(12):
        record = source.read(index)
        assert record.label == by_bytes[record.data]
    check_pickles(source)
    assert source.read(3).name == "tfds:toy/1.0.0 train record 3"
    half = config("tfds:toy", split="train[:50%]").records()
    assert len(half) == 6 and half.fingerprint != source.fingerprint


def test_tfds_errors(config, toy):
    with pytest.raises(UserError, match=r"knows no data set.*Did you mean tfds:toy\?"):
        config("tfds:toyy").records()
    with pytest.raises(UserError, match=r"Did you mean tfds:cifar10\?.*where TensorFlow"):
        config("tfds:cfar10").records()
    with pytest.raises(UserError, match=r"not prepared in .*TFDS_DATA_DIR.*download_and_prepare"):
        config("tfds:cifar10").records()
    with pytest.raises(UserError, match=r"data\.split='trian'.*train, validation"):
        config("tfds:toy", split="trian").records()
    with pytest.raises(UserError, match=r"no feature 'image' \(it has: text"):
        config("tfds:words").records()
    with pytest.raises(UserError, match=r"TFRECORD.*file_format='array_record'"):
        config("tfds:old").records()
    with pytest.raises(UserError, match="without TensorFlow"):
        config("tfds:speech_commands").records()
    with pytest.raises(UserError, match="Write tfds:NAME"):
        config("tfds:two words").records()


# -- built in


def test_unknown_builtin(config):
    with pytest.raises(UserError, match=r"known: builtin:photos\. Did you mean builtin:photos\?"):
        config("builtin:photo").records()
