"""Decoding, crops and augmentation of pictures."""

import io

import numpy as np
import pytest
from pictures import encoded, jpeg, ramp
from PIL import Image

from d2v_jax.data.builtin import photos
from d2v_jax.data.image.pictures import (
    augment,
    central,
    decode,
    jitter,
    random_resized_crop_box,
    resize,
)
from d2v_jax.data.records import BadRecord, Record

RGB = Image.fromarray(ramp())
GREY = RGB.convert("L")


def pixels(data: bytes, channels: int) -> np.ndarray:
    return np.asarray(decode(data, channels)).astype(int)


def test_sixteen_bit_grey_is_scaled_not_clipped():
    wide = np.linspace(0, 65535, 60 * 40).reshape(40, 60).astype(np.uint16)
    data = encoded(Image.fromarray(wide), "png")
    assert Image.open(io.BytesIO(data)).mode.startswith("I")
    expected = np.round(wide / 257)
    assert np.array_equal(pixels(data, 1), expected)
    assert np.array_equal(pixels(data, 3), np.repeat(expected[:, :, None], 3, 2))


def test_palette_with_and_without_transparency(recwarn):
    palette = RGB.quantize(64)
    expected = np.asarray(palette.convert("RGB"))
    assert np.array_equal(pixels(encoded(palette, "png"), 3), expected)
    alpha = bytes(range(0, 256, 4))
    transparent = encoded(palette, "png", transparency=alpha)
    assert np.array_equal(pixels(transparent, 3), expected)
    assert np.array_equal(pixels(transparent, 1), np.asarray(palette.convert("RGB").convert("L")))
    assert not recwarn.list


def test_cmyk_jpeg():
    data = encoded(RGB.convert("CMYK"), "jpeg", quality=100, subsampling=0)
    assert Image.open(io.BytesIO(data)).mode == "CMYK"
    assert np.abs(pixels(data, 3) - ramp()).max() <= 6
    assert np.abs(pixels(data, 1) - np.asarray(GREY)).max() <= 6


def test_ycck_jpeg():
    """YCCK holds CMY as if it were RGB, in YCbCr; the Adobe marker's transform byte says so."""
    cmyk = np.asarray(RGB.convert("CMYK"))
    ycc = np.asarray(Image.fromarray(cmyk[:, :, :3]).convert("YCbCr"))
    # Saving inverts all four channels; the three of YCC must arrive as they are.
    stored = Image.frombytes("CMYK", RGB.size, np.dstack([255 - ycc, cmyk[:, :, 3]]).tobytes())
    data = bytearray(encoded(stored, "jpeg", quality=100, subsampling=0))
    marker = data.index(b"Adobe")
    assert data[marker + 11] == 0
    data[marker + 11] = 2
    picture = Image.open(io.BytesIO(bytes(data)))
    assert picture.mode == "CMYK"
    assert np.abs(pixels(bytes(data), 3) - ramp()).max() <= 6


@pytest.mark.parametrize(
    ("mode", "kind"),
    [(mode, "png") for mode in ("1", "L", "LA", "RGB", "RGBA")]
    + [(mode, "webp") for mode in ("RGB", "RGBA")],
)
def test_other_modes(mode: str, kind: str):
    picture = RGB.convert(mode)
    if mode in ("LA", "RGBA"):
        picture.putalpha(GREY)
    options = {"lossless": True, "exact": True} if kind == "webp" else {}
    data = encoded(picture, kind, **options)
    base = {"LA": "L", "RGBA": "RGB"}.get(mode, mode)
    for channels, wanted in ((1, "L"), (3, "RGB")):
        assert np.array_equal(pixels(data, channels), np.asarray(RGB.convert(base).convert(wanted)))


def test_arrays_are_pictures_too():
    assert np.array_equal(np.asarray(decode(ramp(), 3)), ramp())
    grey = np.asarray(GREY)
    assert np.array_equal(np.asarray(decode(grey, 1)), grey)
    assert np.array_equal(np.asarray(decode(grey[:, :, None], 1)), grey)
    with pytest.raises(BadRecord, match="float64"):
        decode(grey / 255, 1)
    with pytest.raises(BadRecord, match=r"\[0, 5\]"):
        decode(np.zeros((0, 5), np.uint8), 1)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (jpeg()[: len(jpeg()) // 2], "damaged picture.*Truncated"),
        (jpeg()[:-100], "damaged picture.*truncated"),
        (encoded(RGB, "png")[:-200], "damaged picture"),
        (b"just some text, named .jpg\n" * 20, "not a picture of a format that is read here"),
        (b"", "empty"),
    ],
)
def test_what_is_no_picture_is_a_bad_record(data: bytes, reason: str):
    with pytest.raises(BadRecord, match=reason):
        decode(data, 3)


@pytest.mark.parametrize("kind", ["png", "jpeg", "bmp", "gif"])
def test_too_many_pixels_are_a_bad_record(config, tmp_path, monkeypatch, recwarn, kind):
    """The field alone says how many; Pillow's own limit neither warns nor refuses."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    (tmp_path / f"a.{kind}").write_bytes(encoded(RGB, kind))
    (tmp_path / "b.png").write_bytes(encoded(RGB.resize((20, 20)), "png"))
    pixels = RGB.width * RGB.height
    for most, left_out in ((pixels, False), (pixels - 1, True)):
        cfg = config(tmp_path, most_pixels=most)
        data = cfg.open()
        look = cfg.look(None)
        assert (f"a.{kind}" in look.bad) == left_out
        if left_out:
            with pytest.raises(BadRecord, match=f"too many pixels.*data.most_pixels={most}"):
                data.cut(data.source.read(0), np.random.default_rng(0), 16)
            assert [name for name, _ in cfg.inputs_of(tmp_path, None, 0).examples] == ["b.png"]
        else:
            data.cut(data.source.read(0), np.random.default_rng(0), 16)
            assert len(list(cfg.inputs_of(tmp_path, None, 0).examples)) == 2
    assert not recwarn.list


def test_a_picture_without_rows_is_a_bad_record():
    data = bytearray(jpeg())
    start = data.index(b"\xff\xc0")
    data[start + 5 : start + 7] = b"\0\0"
    with pytest.raises(BadRecord):
        decode(bytes(data), 3)


def test_crop_boxes_follow_the_rule():
    scale, ratio = (0.2, 1.0), (3 / 4, 4 / 3)
    rng = np.random.default_rng(0)
    width, height = 500, 375
    boxes = np.array(
        [random_resized_crop_box(width, height, scale, ratio, rng) for _ in range(4000)]
    )
    left, top, right, bottom = boxes.T
    assert (left >= 0).all() and (top >= 0).all()
    assert (right <= width).all() and (bottom <= height).all()
    share = (right - left) * (bottom - top) / (width * height)
    aspect = (right - left) / (bottom - top)
    assert scale[0] - 0.01 < share.min() and share.max() <= 1
    assert ratio[0] - 0.02 < aspect.min() and aspect.max() < ratio[1] + 0.02
    # The rule, written down a second time: rejection of uniform areas and log-uniform ratios.
    area = rng.uniform(*scale, 40000) * width * height
    wanted = np.exp(rng.uniform(*np.log(ratio), 40000))
    fits = (np.sqrt(area * wanted) <= width) & (np.sqrt(area / wanted) <= height)
    assert np.isclose(share.mean(), area[fits].mean() / (width * height), rtol=0.02)
    assert np.isclose(np.log(aspect).mean(), np.log(wanted[fits]).mean(), atol=0.01)
    # Places are uniform in what room there is.
    room = width - (right - left)
    assert abs((left / np.maximum(room, 1))[room > 50].mean() - 0.5) < 0.02


@pytest.mark.parametrize(
    ("size", "box"),
    [((1000, 10), (493, 0, 506, 10)), ((10, 1000), (0, 493, 10, 506)), ((1, 1), (0, 0, 1, 1))],
)
def test_crop_falls_back_to_the_centre(size: tuple[int, int], box: tuple[int, ...]):
    rng = np.random.default_rng(0)
    assert random_resized_crop_box(*size, (0.9, 1.0), (3 / 4, 4 / 3), rng) == box


def test_nothing_outside_the_crop_leaks_in(config):
    """A black square on white, cut exactly: a kernel that looked outside would see white."""
    image = np.full((40, 40, 3), 255, np.uint8)
    image[10:30, 10:30] = 0

    class Fixed:
        def uniform(self, low, high):
            return 0.25 if low == 0.2 else 0.0

        def integers(self, n):
            return 10

        def random(self):
            return 1.0

    out = augment(Record(image, None, "square"), config("x", image_size=16), Fixed())
    assert out.shape == (16, 16, 3) and out.max() == 0


def test_augment_resizes_bicubic_and_flips(config):
    record = Record(encoded(RGB, "png"), None, "ramp")
    whole = dict(crop_scale=(1.0, 1.0), crop_ratio=(1.5, 1.5), image_size=16)
    rng = np.random.default_rng(0)
    plain = augment(record, config("x", flip=0.0, **whole), rng)
    expected = np.asarray(RGB.resize((16, 16), Image.Resampling.BICUBIC))
    assert plain.dtype == np.uint8 and plain.shape == expected.shape
    assert np.abs(plain.astype(int) - expected).max() <= 1
    assert np.array_equal(augment(record, config("x", flip=1.0, **whole), rng), plain[:, ::-1])
    some = [augment(record, config("x", **whole), rng)[0, 0, 0] < 128 for _ in range(400)]
    assert 0.4 < np.mean(some) < 0.6
    assert augment(record, config("x", channels=1), rng).shape == (16, 16, 1)


@pytest.mark.parametrize("shape", [(300, 400), (150, 430), (100, 90), (700, 900)])
@pytest.mark.parametrize("channels", [1, 3])
def test_exact_is_pillows_bicubic(shape: tuple[int, int], channels: int):
    """On a photograph and on noise, smaller and larger; inside, away from the borders, exactly.

    The noise is of few greys: what goes beyond black and white is cut off at other stages.
    """
    moon = np.asarray(Image.fromarray(photos.load()[11]).resize(shape[::-1]))
    noise = np.random.default_rng(0).integers(96, 160, (*shape, channels)).astype(np.uint8)
    for image in (np.stack([moon, moon[::-1], moon[:, ::-1]], -1)[:, :, :channels], noise):
        mine = resize(image, 224, "exact")
        picture = Image.fromarray(image.squeeze())
        theirs = np.asarray(picture.resize((224, 224), Image.Resampling.BICUBIC))
        difference = np.abs(mine.astype(int) - theirs.reshape(mine.shape))
        assert difference.mean() < 0.25
        assert np.quantile(difference[8:-8, 8:-8], 0.999) <= 1


def test_only_exact_is_antialiased():
    """Stripes too fine for the result become grey, not other stripes."""
    stripes = np.zeros((400, 400, 3), np.uint8)
    stripes[:, ::2] = 255
    assert np.ptp(resize(stripes, 224, "exact")[8:-8, 8:-8]) < 60
    assert np.ptp(resize(stripes, 224, "fast")[8:-8, 8:-8]) > 200
    assert np.ptp(resize(stripes, 64, "fast")[8:-8, 8:-8]) < 60


class Drawn:
    """A generator that gives these numbers."""

    def __init__(self, factors, order):
        self.factors, self.order = np.array(factors), order

    def uniform(self, low, high, count):
        self.range = (low, high)
        assert count == len(self.factors)
        return self.factors

    def permutation(self, count):
        return self.order


def blend(one: np.ndarray, other: np.ndarray | float, factor: float) -> np.ndarray:
    """torchvision's, in 8 bits at every stage; Pillow cuts fractions off."""
    return np.clip(factor * one + (1 - factor) * other, 0, 255).astype(np.uint8).astype(float)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_jitter_is_torchvisions(order):
    factors = (1.3, 0.7, 1.35)
    grey = lambda x: (x @ (0.299, 0.587, 0.114)).round()
    expected = ramp().astype(float)
    steps = (
        lambda x: blend(x, 0.0, factors[0]),
        lambda x: blend(x, np.floor(grey(x).mean() + 0.5), factors[1]),
        lambda x: blend(x, grey(x)[:, :, None], factors[2]),
    )
    for step in order:
        expected = steps[step](expected)
    rng = Drawn(factors, order)
    out = np.asarray(jitter(RGB, 0.4, rng)).astype(float)
    assert np.abs(out - expected).max() <= 2
    assert np.allclose(rng.range, (0.6, 1.4))
    jitter(RGB, 1.5, rng)
    assert rng.range == (0.0, 2.5)


def test_jitter_leaves_crops_as_they_are(config):
    """The same place and side with and without; grey has no colour to change."""
    record = Record(encoded(RGB, "png"), None, "ramp")
    for seed in range(10):
        make = lambda **changes: augment(
            record,
            config("x", **changes),
            np.random.default_rng(seed),  # noqa: B023
        ).astype(float)
        plain, jittered = make(), make(jitter=0.4)
        assert not np.array_equal(plain, jittered)
        by_rank = [
            np.corrcoef(a.ravel(), b.ravel())[0, 1]
            for a, b in ((plain[..., c], jittered[..., c]) for c in range(3))
        ]
        assert min(by_rank) > 0.8
        assert np.ptp(make(channels=1, jitter=0.4)) > 0


def test_contrast_is_relative_to_the_whole_picture(config):
    """Halving the contrast of a picture half black, half white, seen in its black half."""
    image = np.zeros((40, 80), np.uint8)
    image[:, 40:] = 255
    half = Drawn((1.0, 0.5, 1.0), (0, 1, 2))
    out = np.asarray(jitter(Image.fromarray(image), 0.5, half))
    assert out.min() == 64 and out.max() == 191


def test_central_crop_keeps_the_middle():
    out = central(encoded(RGB, "png"), 28, 3)
    short = RGB.resize((48, 32), Image.Resampling.BICUBIC)
    assert np.array_equal(out, np.asarray(short.crop((10, 2, 38, 30))))
    assert central(jpeg(), 28, 1).shape == (28, 28, 1)
    assert central(np.zeros((1, 3), np.uint8), 28, 1).shape == (28, 28, 1)
    with pytest.raises(BadRecord, match="too unequal"):
        central(np.zeros((1, 5000), np.uint8), 224, 1)
