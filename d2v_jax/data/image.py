"""Pictures: decoding whatever people have, random crops for training, central ones for tests."""

import io
import math

import numpy as np
from PIL import Image, ImageEnhance, UnidentifiedImageError

from d2v_jax.data.config import ImageData
from d2v_jax.data.records import BadRecord, Example, Record

# Also what files named .jpg often are. Others stay out: some of Pillow's readers start programs.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
MODES = {1: "L", 3: "RGB"}  # by channels
ATTEMPTS = 10  # of the random crop, before it falls back to the centre
RESIZE_PER_CROP = 256 / 224  # shorter side before a central crop, in sides of the crop


def decode(image: bytes | np.ndarray, channels: int) -> Image.Image:
    """Returns the picture in 8 bits, grey (`channels` 1) or RGB (3).

    16-bit grey is scaled, not clipped. Alpha is dropped and EXIF orientation is not applied,
    as in the original pipelines. Raises `BadRecord` for anything that is not a whole picture.
    """
    picture = _open(image) if isinstance(image, bytes) else _from_array(image)
    if min(picture.size) < 1:
        raise BadRecord(f"picture of size {picture.width} x {picture.height}")
    mode = MODES[channels]
    if picture.mode == mode:
        return picture
    if picture.mode.startswith("I"):  # 16 bits; Pillow's own conversion clips at 255
        wide_yx = np.asarray(picture).astype(np.int64).clip(0, 65535)
        picture = Image.fromarray(((wide_yx * 255 + 32767) // 65535).astype(np.uint8))
    elif picture.mode in ("P", "PA"):
        # Through RGBA: the palette may hold alpha, which Pillow warns about otherwise.
        picture = picture.convert("RGBA").convert("RGB")
    return picture.convert(mode)


def _open(data: bytes) -> Image.Image:
    if not data:
        raise BadRecord("the file is empty")
    try:
        picture = Image.open(io.BytesIO(data), formats=FORMATS)
        picture.load()
    except UnidentifiedImageError as error:
        raise BadRecord("not a jpeg, png or webp picture") from error
    except Image.DecompressionBombError as error:
        raise BadRecord(f"too many pixels: {error}") from error
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


def augment(record: Record, cfg: ImageData, rng: np.random.Generator) -> np.ndarray:
    """Colour jitter, random resized crop and flip: uint8 [y, x, c], y = x = `cfg.image_size`."""
    picture = decode(record.data, cfg.channels)
    box = random_resized_crop_box(*picture.size, cfg.crop_scale, cfg.crop_ratio, rng)
    flip = rng.random() < cfg.flip
    # Drawn last, so that crop and flip are the same whatever the jitter; applied first, because
    # contrast is relative to the mean of the whole picture (REFERENCE §6.7).
    if cfg.jitter:
        picture = jitter(picture, cfg.jitter, rng)
    # Cut before resizing: the bicubic kernel must not see pixels outside the box.
    crop = picture.crop(box).resize((cfg.image_size, cfg.image_size), Image.Resampling.BICUBIC)
    image_yxc = _pixels(crop)
    return image_yxc[:, ::-1] if flip else image_yxc


def example(record: Record, rng: np.random.Generator, size: int, cfg: ImageData) -> Example:
    """`augment` as the loader wants it; `size` is `cfg.image_size`."""
    del size
    return {"inputs": augment(record, cfg, rng)}


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


def central(image: bytes | np.ndarray, size: int, channels: int) -> np.ndarray:
    """The crop for evaluation: shorter side to size * 256 / 224, then the centre.

    Returns uint8 [y, x, c], y = x = `size`. Raises `BadRecord` as `decode` does.
    """
    picture = decode(image, channels)
    short = round(size * RESIZE_PER_CROP)
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
