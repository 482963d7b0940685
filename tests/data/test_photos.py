"""builtin:photos: sixteen photos, two sides that never meet."""

import pickle

import numpy as np
import pytest

from d2v_jax.common.checks import UserError
from d2v_jax.data.builtin import photos


@pytest.fixture
def columns(monkeypatch) -> list[np.ndarray]:
    """Sixteen stand-ins whose pixels say which per cent of the width they come from."""
    stand_ins = [
        np.tile((np.arange(width) * 100 // width).astype(np.uint8), (height, 1))
        for width, height in [(512, 512), (384, 191)] * 8
    ]
    monkeypatch.setattr(photos, "load", lambda: tuple(stand_ins))
    return stand_ins


def test_the_photos_are_those_of_the_wheel():
    loaded = photos.load()
    assert len(loaded) == len(photos.NAMES) == 16 and list(photos.NAMES) == sorted(photos.NAMES)
    assert all(photo.dtype == np.uint8 and photo.ndim == 2 for photo in loaded)
    assert min(photo.std() for photo in loaded) > 5


def test_windows_are_a_function_of_their_number(config):
    source = config("builtin:photos", image_size=32).records()
    assert len(source) == 65536 and source.class_names == photos.NAMES
    copy = pickle.loads(pickle.dumps(source))
    for index in (0, 1, 17, 65535):
        record = source.read(index)
        assert record.data.shape == (48, 48) and record.label == index % 16
        assert np.array_equal(record.data, copy.read(index).data)
    assert not np.array_equal(source.read(0).data, source.read(16).data)
    other = config("builtin:photos", image_size=16).records()
    assert other.fingerprint != source.fingerprint == copy.fingerprint


def test_windows_stay_left(columns):
    source = photos.PhotoWindows(32)
    largest = max(int(source.read(index).data.max()) for index in range(3000))
    assert 65 <= largest < 70


def test_windows_shrink_to_fit(columns):
    assert photos.PhotoWindows(224).read(1).data.shape == (191, 191)


def test_probe_sides_never_meet(columns):
    train, labels = photos.probe_set("train", 32, 1600, 0)
    test, _ = photos.probe_set("test", 32, 1600, 0)
    assert train.shape == (1600, 32, 32, 1) and train.dtype == np.uint8
    assert labels.dtype == np.int32
    assert (np.bincount(labels) == 100).all()
    assert train.max() < 70 <= test.min() + 1 and test.max() == 99


def test_probe_crops_come_from_their_photo():
    images, labels = photos.probe_set("test", 32, 32, 3)
    loaded = photos.load()
    windows = np.lib.stride_tricks.sliding_window_view
    for image, label in zip(images[:16, :, :, 0], labels):
        places = windows(loaded[label], (32, 32))
        found = np.argwhere(
            (places[:, :, 0, 0] == image[0, 0]) & (places[:, :, 9, 9] == image[9, 9])
        )
        assert any(np.array_equal(places[y, x], image) for y, x in found)
    again, _ = photos.probe_set("test", 32, 32, 3)
    other, _ = photos.probe_set("test", 32, 32, 4)
    assert np.array_equal(images, again) and not np.array_equal(images, other)


def test_probe_errors():
    with pytest.raises(UserError, match=r"image_size=224.*at most 116 pixels"):
        photos.probe_set("test", 224, 16, 0)
    with pytest.raises(UserError, match="train and test"):
        photos.probe_set("valid", 32, 16, 0)
