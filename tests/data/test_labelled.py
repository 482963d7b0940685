"""Labelled images for probes, named images for features."""

import logging

import numpy as np
import pytest
from pictures import jpeg
from test_sources import example, write_shard

from d2v_jax.common.checks import UserError
from d2v_jax.data.builtin import photos
from d2v_jax.data.image.inputs import folder_images
from d2v_jax.data.image.pictures import central
from d2v_jax.data.labelled.images import labelled_images


def test_photos(config):
    cfg = config("builtin:photos", image_size=32, channels=1)
    train = labelled_images(cfg, "train", 64, 0)
    assert train.images.shape == (64, 32, 32, 1) and train.class_names == photos.NAMES
    assert (np.bincount(train.labels) == 4).all()
    test = labelled_images(cfg, "test", None, 0)
    assert len(test.images) == len(test.labels) == len(test.ids) == 2048
    colour = labelled_images(config("builtin:photos", image_size=32), "train", 64, 0)
    assert np.array_equal(colour.images, np.repeat(train.images, 3, 3))


def test_folder_is_divided_once_and_for_all(config, folder):
    train = labelled_images(config(folder), "train", None, 0)
    test = labelled_images(config(folder, split="train[:50%]"), "test", None, 0)
    assert train.class_names == ("cats", "dogs")
    assert sorted([*train.ids, *test.ids]) == list(range(20))
    assert 10 <= len(train.ids) <= 17
    for part in (train, test):
        assert part.images.dtype == np.uint8 and part.labels.dtype == np.int32
        assert np.array_equal(part.labels, part.ids >= 10)
        for image, number in zip(part.images, part.ids):
            assert np.array_equal(image, central(jpeg(int(number)), 16, 3))
    # A file that joins changes nothing for the others, and the seed only their order.
    (folder / "cats" / "zz.jpg").write_bytes(jpeg())
    later = labelled_images(config(folder), "test", None, 1)
    shift = {int(i) + (i >= 10) for i in test.ids}
    assert shift == set(later.ids.tolist()) - {10}
    few = labelled_images(config(folder), "train", 4, 1)
    assert len(few.images) == len(few.labels) == 4


def test_tfds_uses_its_own_splits(config, toy):
    train = labelled_images(config("tfds:toy", split="train[:50%]"), "train", None, 0)
    test = labelled_images(config("tfds:toy"), "test", None, 0)
    assert (len(train.ids), len(test.ids)) == (12, 6)
    assert train.class_names == ("cat", "dog", "owl")
    assert (np.bincount(test.labels) == 2).all()


def test_labelled_shards(config, tmp_path):
    records = [example(label=number % 3, image=jpeg(number)) for number in range(30)]
    write_shard(tmp_path / "x.array_record", records)
    parts = [labelled_images(config(tmp_path / "x.*"), part, None, 0) for part in ("train", "test")]
    assert sorted(np.concatenate([part.ids for part in parts])) == list(range(30))
    for part in parts:
        assert np.array_equal(part.labels, part.ids % 3) and part.class_names == ("0", "1", "2")


def test_bad_records_are_left_out_with_a_warning(config, folder, caplog):
    for number in range(0, 10, 2):
        (folder / "cats" / f"{number:02d}.jpg").write_bytes(jpeg(number)[:-300])
    with caplog.at_level(logging.WARNING, "d2v"):
        parts = [labelled_images(config(folder), part, None, 0) for part in ("train", "test")]
    assert sum(len(part.ids) for part in parts) == 15
    lines = [record.getMessage() for record in caplog.records]
    assert sum("skipped cats/0" in line and "truncated" in line for line in lines) == 5
    assert any("unreadable records of" in line for line in lines)


def test_what_has_no_labels(config, folder, tmp_path):
    (folder / "loose.jpg").write_bytes(jpeg())
    with pytest.raises(UserError, match=r"has no labels.*sub-folder per class"):
        labelled_images(config(folder), "train", None, 0)
    write_shard(tmp_path / "x.array_record", [jpeg(number) for number in range(9)])
    with pytest.raises(UserError, match="has no labels"):
        labelled_images(config(tmp_path / "x.array_record"), "train", None, 0)


def test_too_small_to_divide(config, folder):
    for path in sorted(folder.rglob("*.jpg"))[1:]:
        path.unlink()
    sizes = set()
    for part in ("train", "test"):
        try:
            sizes.add(len(labelled_images(config(folder), part, None, 0).ids))
        except UserError as error:
            assert "too small" in str(error)
            sizes.add(0)
    assert sizes == {0, 1}
    with pytest.raises(UserError, match="'train' or 'test'"):
        labelled_images(config(folder), "valid", None, 0)


def test_folder_images(folder, tmp_path, caplog):
    (folder / "cats" / "03.jpg").write_bytes(b"text")
    with caplog.at_level(logging.WARNING, "d2v"):
        found = dict(folder_images(folder, 16, 1))
    assert len(found) == 19 and "cats/03.jpg" not in found
    assert np.array_equal(found["dogs/12.jpg"], central(jpeg(12), 16, 1))
    assert "1 of 20 files" in caplog.text and "cats/03.jpg: not a jpeg" in caplog.text
    with pytest.raises(UserError, match="no such folder"):
        folder_images(tmp_path / "nowhere", 16, 1)
