"""Pictures: decoding whatever people have, random crops for training, central ones for tests."""

import io
import math
import struct
from typing import Protocol

import kornia_rs
import numpy as np
from PIL import Image, ImageEnhance, UnidentifiedImageError

from d2v_jax.data import formats
from d2v_jax.data.image import jpeg, operations
from d2v_jax.data.records import BadRecord, Example, Record
from d2v_jax.data.stores.folder import Kind

# Some of Pillow's readers start programs: those stay out.
FORMATS = (
    *("JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "AVIF"),
    *("JPEG2000", "PPM", "QOI"),
)
SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib"),
    *(".tif", ".tiff", ".avif", ".jp2", ".j2k", ".jpx", ".ppm", ".pgm", ".pbm", ".pnm", ".qoi"),
)
UNREAD = (
    *(".heic", ".heif", ".jxl", ".svg", ".eps", ".psd", ".raw", ".dng", ".cr2", ".cr3", ".nef"),
    *(".arw", ".orf", ".rw2", ".raf", ".tga", ".ico", ".exr", ".hdr", ".dcm", ".pcx", ".xcf"),
)
EVERY_FORM = ("JPEG", "PNG", "GIF", "WebP")  # of these is read
CONVERT = "convert them to png or jpeg (magick IN OUT.png)"
IMAGES = Kind(
    "image",
    SUFFIXES,
    "a folder of images, tfds:NAME, a pattern of *.array_record files, a folder that d2v data "
    "prepare wrote, a folder of idx files as MNIST has them, or builtin:photos",
    shards=True,
    unread=dict.fromkeys(UNREAD, CONVERT),
)
MOST_PIXELS = 180_000_000
MODES = {1: "L", 3: "RGB"}  # by channels
ATTEMPTS = 10  # of the random crop, before it falls back to the centre
CENTRAL = 224 / 256  # side of a central crop, in shorter sides of the picture


class Crops(Protocol):
    """How pictures are cut, as the `data` section of a recipe of images says it."""

    image_size: int
    channels: int
    crop_scale: tuple[float, float]
    crop_ratio: tuple[float, float]
    flip: float
    jitter: float
    resize: str
    operations: int
    strength: float
    most_pixels: int


def decode(image: bytes | np.ndarray, channels: int, most: int = MOST_PIXELS) -> Image.Image:
    """Returns the picture in 8 bits, grey (`channels` 1) or RGB (3).

    16-bit grey is scaled, not clipped. Alpha is dropped and EXIF orientation is not applied,
    as in the original pipelines. Raises `BadRecord` for anything that is not a whole picture of
    `most` pixels or fewer.
    """
    picture = _loaded(image, most) if isinstance(image, bytes) else _from_array(image)
    if min(picture.size) < 1:
        raise BadRecord(f"picture of size {picture.width} x {picture.height}")
    mode = MODES[channels]
    if picture.mode == mode:
        return picture
    if picture.mode == "F":
        raise BadRecord(f"pixels of 32-bit floats, of a range that nobody says; {CONVERT}")
    if picture.mode.startswith("I"):  # 16 bits; Pillow's own conversion clips at 255
        wide_yx = np.asarray(picture).astype(np.int64).clip(0, 65535)
        picture = Image.fromarray(((wide_yx * 255 + 32767) // 65535).astype(np.uint8))
    elif picture.mode in ("P", "PA"):
        # Through RGBA: the palette may hold alpha, which Pillow warns about otherwise.
        picture = picture.convert("RGBA").convert("RGB")
    try:
        return picture.convert(mode)
    except ValueError as error:
        raise BadRecord(f"colours {picture.mode} are not converted; {CONVERT}") from error


def opened(data: bytes) -> Image.Image:
    """A picture of which no pixel is decoded yet.

    Pillow's own limit, which warns without a name and cannot be raised for one caller alone, is
    passed by. Raises `UnidentifiedImageError`, or whatever a decoder does with damage.
    """
    Image.init()
    for name in FORMATS:
        factory, accepts = Image.OPEN.get(name, (None, None))
        if factory is None or (accepts and accepts(data[:16]) is not True):
            continue
        try:
            return factory(io.BytesIO(data), "")
        except (SyntaxError, IndexError, TypeError, struct.error):  # how decoders say no
            continue
    raise UnidentifiedImageError("no format fits")


def _loaded(data: bytes, most: int) -> Image.Image:
    if not data:
        raise BadRecord("the file is empty")
    try:
        picture = opened(data)
        if picture.width * picture.height > most:
            raise BadRecord(
                f"too many pixels: {picture.width} x {picture.height}, above "
                f"data.most_pixels={most}; d2v data prepare --max-side makes smaller files"
            )
        picture.load()
    except BadRecord:
        raise
    except UnidentifiedImageError as error:
        kind = formats.what_is(data[: formats.HEAD])
        if kind is None:
            raise BadRecord("not a picture of a format that is read here") from error
        if kind in EVERY_FORM:
            raise BadRecord(
                f"damaged picture: it begins as {kind}, and is cut off there"
            ) from error
        remedy = f"; {CONVERT}" if kind in formats.PICTURES else ""
        raise BadRecord(f"it is {kind}, of a form that is not read here{remedy}") from error
    except Image.DecompressionBombError as error:  # of a tiff's tile or a webp
        raise BadRecord(f"too many pixels for Pillow; {CONVERT}") from error
    except Exception as error:  # damaged bytes make decoders raise nearly anything
        raise BadRecord(f"damaged picture: {str(error) or type(error).__name__}") from error
    return picture


def _from_array(image: np.ndarray) -> Image.Image:
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or 0 in image.shape:
        raise BadRecord(f"pixels {image.dtype} {list(image.shape)}, not uint8 [y, x] or [y, x, c]")
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[:, :, 0]
    return Image.fromarray(np.ascontiguousarray(image))


def random_resized_crop_box(
    width: int,
    height: int,
    scale: tuple[float, float],
    ratio: tuple[float, float],
    rng: np.random.Generator,
) -> tuple[int, int, int, int]:
    """Draws (left, top, right, bottom) in pixels, by torchvision's rule (REFERENCE §10.5).

    Area uniform in `scale` (share of the picture), width / height log-uniform in `ratio`; a
    draw that does not fit is repeated, and after ten the largest central box of a permitted
    ratio is taken.
    """
    for _ in range(ATTEMPTS):
        area = width * height * rng.uniform(*scale)
        aspect = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        w = round(math.sqrt(area * aspect))
        h = round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            top = int(rng.integers(height - h + 1))
            left = int(rng.integers(width - w + 1))
            return left, top, left + w, top + h
    w, h = width, height
    if width / height < ratio[0]:
        h = round(width / ratio[0])
    elif width / height > ratio[1]:
        w = round(height * ratio[1])
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


def augment(record: Record, how: Crops, rng: np.random.Generator) -> np.ndarray:
    """Colour jitter, random resized crop and flip: uint8 [y, x, c], y = x = `how.image_size`."""
    size = jpeg.size_of(record.data, how.most_pixels)
    whole_yxc = None if size else _pixels(decode(record.data, how.channels, how.most_pixels))
    width, height = size or whole_yxc.shape[1::-1]
    box = random_resized_crop_box(width, height, how.crop_scale, how.crop_ratio, rng)
    flip = rng.random() < how.flip
    if whole_yxc is None:
        whole_yxc = _decode_jpeg(record.data, (width, height), box, how)
    # Drawn last, so that crop and flip are the same whatever the jitter; applied first, because
    # contrast is relative to the mean of the whole picture (REFERENCE §6.7).
    if how.jitter:
        whole_yxc = _pixels(jitter(_from_array(whole_yxc), how.jitter, rng))
    # Cut before resizing: the kernel must not see pixels outside the box.
    left, top, right, bottom = _scaled(box, (width, height), whole_yxc.shape[1::-1])
    image_yxc = resize(whole_yxc[top:bottom, left:right], how.image_size, how.resize)
    return _mirrored(image_yxc) if flip else image_yxc


def _decode_jpeg(
    data: bytes, size: tuple[int, int], box: tuple[int, int, int, int], how: Crops
) -> np.ndarray:
    """-> uint8 [y, x, c], the picture or, when that is to be fast, a reduced one.

    A reduced one is of a size that leaves `box` at least `how.image_size` pixels wide and high.
    """
    least = None
    if how.resize == "fast":
        sides = box[2] - box[0], box[3] - box[1]
        least = tuple(math.ceil(how.image_size * whole / side) for whole, side in zip(size, sides))
    image_yxc = jpeg.pixels(data, how.channels, least)
    # Pillow knows which faults do not matter, and what to say of the others.
    return _pixels(decode(data, how.channels, how.most_pixels)) if image_yxc is None else image_yxc


def _scaled(
    box: tuple[int, int, int, int], old: tuple[int, int], new: tuple[int, int]
) -> tuple[int, int, int, int]:
    """`box` of a picture of size `old` in the same picture of size `new`, at least 1 x 1."""
    if old == new:
        return box
    x, y = new[0] / old[0], new[1] / old[1]
    left, top = min(round(box[0] * x), new[0] - 1), min(round(box[1] * y), new[1] - 1)
    return left, top, max(round(box[2] * x), left + 1), max(round(box[3] * y), top + 1)


def resize(image_yxc: np.ndarray, size: int, how: str) -> np.ndarray:
    """uint8 [y, x, c] to [`size`, `size`, c].

    "exact" is Pillow's bicubic resize, antialiased. "fast" is bilinear and antialiases only what
    is more than twice too large.
    """
    image_yxc = np.ascontiguousarray(image_yxc)
    exact = how == "exact" or min(image_yxc.shape[:2]) > 2 * size
    if image_yxc.shape[2] == 1:
        kernel = Image.Resampling.BICUBIC if exact else Image.Resampling.BILINEAR
        return _pixels(Image.fromarray(image_yxc[:, :, 0]).resize((size, size), kernel))
    kernel = "bicubic" if exact else "bilinear"
    return kornia_rs.imgproc.resize(image_yxc, (size, size), kernel, antialias=True)


def _mirrored(image_yxc: np.ndarray) -> np.ndarray:
    if image_yxc.shape[2] == 1:
        return image_yxc[:, ::-1]
    return kornia_rs.imgproc.horizontal_flip(image_yxc)  # 15 times faster than NumPy's copy


def example(record: Record, rng: np.random.Generator, size: int, how: Crops) -> Example:
    """`augment` as the loader wants it; `size` is `how.image_size`."""
    del size
    image_yxc = augment(record, how, rng)
    if how.operations:
        image_yxc = operations.changed(image_yxc, how.operations, how.strength, rng)
    return {"inputs": image_yxc}


def jitter(picture: Image.Image, strength: float, rng: np.random.Generator) -> Image.Image:
    """Random brightness, contrast and saturation in random order, by torchvision's ColorJitter.

    Each is blended with its opposite (black, the mean grey, the grey picture) by a factor
    uniform in [max(0, 1 - strength), 1 + strength].
    """
    enhancers = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
    factors = rng.uniform(max(0.0, 1 - strength), 1 + strength, len(enhancers))
    for number in rng.permutation(len(enhancers)):
        picture = enhancers[number](picture).enhance(float(factors[number]))
    return picture


def central(
    image: bytes | np.ndarray,
    size: int,
    channels: int,
    share: float = CENTRAL,
    most: int = MOST_PIXELS,
) -> np.ndarray:
    """The crop for evaluation: shorter side to size / `share`, then the centre.

    Returns uint8 [y, x, c], y = x = `size`. Raises `BadRecord` as `decode` does.
    """
    picture = decode(image, channels, most)
    short = round(size / share)
    factor = short / min(picture.size)
    if max(picture.size) * factor > 64 * short:  # a hair-thin strip would fill the memory
        raise BadRecord(f"sides of {picture.width} x {picture.height} pixels are too unequal")
    width, height = (max(short, int(side * factor)) for side in picture.size)
    picture = picture.resize((width, height), Image.Resampling.BICUBIC)
    left, top = round((width - size) / 2), round((height - size) / 2)
    return _pixels(picture.crop((left, top, left + size, top + size)))


def _pixels(picture: Image.Image) -> np.ndarray:
    image = np.asarray(picture)
    return image[:, :, None] if image.ndim == 2 else image
