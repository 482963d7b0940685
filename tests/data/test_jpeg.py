"""JPEG files decoded beside Pillow: the same pixels, the same faults, and smaller where asked."""

import io

import numpy as np
import pytest
from pictures import encoded, ramp
from PIL import Image

from d2v_jax.data.builtin import photos
from d2v_jax.data.image import jpeg
from d2v_jax.data.image.pictures import augment, decode
from d2v_jax.data.records import BadRecord, Record


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    """A photograph in colour and without the finest detail, 500 x 375."""
    cat, cup = (np.array(Image.fromarray(p).resize((160, 120))) for p in photos.load()[4:6])
    colours = np.stack([cat, np.roll(cat, 1, 1), cat // 2 + cup // 3], -1)
    return Image.fromarray(colours).resize((500, 375), Image.Resampling.BICUBIC)


def file(picture: Image.Image, **options) -> bytes:
    return encoded(picture, "jpeg", **{"quality": 90, "subsampling": 2} | options)


def agree(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether pictures are equal but for how a version of libjpeg rounds."""
    return one.shape == other.shape and np.abs(one.astype(int) - other).max() <= 1


@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("RGB", {}),
        ("RGB", {"progressive": True}),
        ("RGB", {"subsampling": 0}),
        ("RGB", {"subsampling": 1, "optimize": True}),
        ("RGB", {"restart_marker_blocks": 4}),
        ("RGB", {"keep_rgb": True, "subsampling": 0}),
        ("RGB", {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0"}),
        ("L", {}),
        ("L", {"progressive": True}),
    ],
)
@pytest.mark.parametrize("size", [(500, 375), (61, 43), (1, 1)])
def test_pixels_are_pillows(photo, mode, options, size):
    data = file(photo.resize(size).convert(mode), **options)
    assert jpeg.size_of(data) == size
    for channels in (1, 3):
        expected = np.asarray(decode(data, channels)).reshape(size[1], size[0], channels)
        assert agree(jpeg.pixels(data, channels), expected)


@pytest.mark.parametrize("kind", ["png", "webp", "gif", "bmp"])
def test_other_formats_are_left_to_pillow(kind):
    assert jpeg.size_of(encoded(Image.fromarray(ramp()), kind)) is None


def test_more_is_left_to_pillow(photo, monkeypatch):
    for subsampling in (0, 2):
        assert jpeg.size_of(file(photo.convert("CMYK"), subsampling=subsampling)) is None
    assert jpeg.size_of(ramp()) is None
    assert jpeg.size_of(b"") is None
    assert jpeg.size_of(file(photo)[:50]) is None
    assert jpeg.size_of(file(photo), 500 * 375 - 1) is None
    monkeypatch.setattr(jpeg, "LARGEST", 1000)
    assert jpeg.size_of(file(photo)) is None
    monkeypatch.undo()
    assert jpeg.size_of(file(photo)) == (500, 375)


def test_reduced_while_decoding(photo):
    data = file(photo, subsampling=0)
    whole = jpeg.pixels(data, 3)
    for least, size in [
        ((251, 10), (500, 375)),
        ((250, 188), (250, 188)),
        ((10, 188), (250, 188)),
        ((188, 141), (188, 141)),
        ((125, 94), (125, 94)),
        ((1, 1), (63, 47)),
    ]:
        reduced = jpeg.pixels(data, 3, least)
        assert reduced.shape == (size[1], size[0], 3)
        expected = np.asarray(Image.fromarray(whole).resize(size, Image.Resampling.BOX))
        assert np.abs(reduced.astype(int) - expected).mean() < 4
    assert jpeg.pixels(data, 1, (125, 94)).shape == (94, 125, 1)
    assert jpeg.pixels(file(photo.convert("L")), 1, (125, 94)).shape == (94, 125, 1)


def outcome(make) -> tuple[np.ndarray | None, str | None]:
    try:
        return make(), None
    except BadRecord as bad:
        return None, bad.reason


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """Cut short, one byte changed, or a piece of it missing."""
    place = int(rng.integers(3, len(data)))
    after = (b"", bytes([rng.integers(256)]) + data[place + 1 :], data[place + rng.integers(200) :])
    return data[:place] + after[rng.integers(3)]


@pytest.mark.parametrize("progressive", [False, True])
def test_damage_is_judged_as_pillow_does(photo, config, progressive):
    """What Pillow overlooks gives Pillow's pixels, what it does not its words."""
    rng = np.random.default_rng(0)
    whole = file(photo.resize((90, 60)), progressive=progressive)
    box = dict(crop_scale=(1.0, 1.0), crop_ratio=(1.5, 1.5), flip=0.0)
    reasons = set()
    for _ in range(300):
        data = damaged(whole, rng)
        expected, reason = outcome(lambda: np.asarray(decode(data, 3)))  # noqa: B023
        if jpeg.size_of(data):
            mine = jpeg.pixels(data, 3)
            assert mine is None or agree(mine, expected)
        for how in ("exact", "fast"):
            cfg = config("x", resize=how, **box)
            made = outcome(lambda: augment(Record(data, None, ""), cfg, rng))  # noqa: B023
            assert made[1] == reason
        reasons.add(reason)
    assert None in reasons and len(reasons) > 5


@pytest.mark.parametrize("how", ["exact", "fast"])
def test_a_cut_below_the_crop_is_noticed(photo, config, how):
    data = file(photo)
    for cut in (len(data) * 9 // 10, len(data) - 200):
        record = Record(data[:cut], None, "cut")
        for seed in range(5):
            cfg = config("x", resize=how, crop_scale=(0.01, 0.02))
            with pytest.raises(BadRecord, match="truncated"):
                augment(record, cfg, np.random.default_rng(seed))


def crops(data: bytes, config, count: int = 12, **changes) -> np.ndarray:
    cfg = config("x", image_size=96, **changes)
    record = Record(data, None, "photo")
    return np.stack([augment(record, cfg, np.random.default_rng(n)) for n in range(count)])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("jitter", [0.0, 0.4])
def test_crops_are_those_of_pillow(photo, config, channels, jitter):
    """Exact ones are, fast ones are of the same places to within a pixel; jittered or not."""
    data = file(photo)
    # A PNG of the decoded pixels takes the way around libjpeg-turbo, but not around the resize.
    pixels = Image.open(io.BytesIO(data))
    options = dict(channels=channels, jitter=jitter)
    exact = crops(data, config, **options)
    assert agree(exact, crops(encoded(pixels, "png"), config, **options))
    fast = crops(data, config, resize="fast", **options).astype(int)
    error = np.abs(fast - exact).mean((1, 2, 3))
    assert 0.1 < error.mean() < 3 and error.max() < 9
    assert (np.abs(fast - exact[:, :, ::-1]).mean((1, 2, 3)) > 12).all()


def test_crops_larger_than_wanted_are_decoded_small(photo, config, monkeypatch):
    seen = []
    decode_jpeg = jpeg.simplejpeg.decode_jpeg
    monkeypatch.setattr(
        jpeg.simplejpeg,
        "decode_jpeg",
        lambda *args, **options: seen.append(decode_jpeg(*args, **options)) or seen[-1],
    )
    data = file(photo)
    crops(data, config, crop_scale=(0.6, 1.0))
    assert {image.shape for image in seen} == {(375, 500, 3)}
    del seen[:]
    crops(data, config, crop_scale=(0.6, 1.0), resize="fast")
    assert {image.shape[0] for image in seen} <= {375 * n // 8 + 1 for n in (3, 4)}
