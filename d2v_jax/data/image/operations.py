"""RandAugment: a few random operations on a picture, all of one strength (REFERENCE §12.2).

The fifteen operations and their strengths are those of the recipes "rand-m9-mstd0.5-inc1".
"""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

HIGHEST = 10.0  # strength
SPREAD = 0.5  # standard deviation of each operation's own strength
LIKELY = 0.5  # that an operation which was drawn is done
FILL = 128  # grey of what comes in from outside
POSTERIZED, SOLARIZED, ADDED, ENHANCED, SHEARED, MOVED, TURNED = 4, 256, 110, 0.9, 0.3, 0.45, 30.0

Operation = Callable[[Image.Image, float, np.random.Generator], Image.Image]


def _either(value: float, rng: np.random.Generator) -> float:
    return -value if rng.random() < 0.5 else value


def _moved(picture: Image.Image, matrix: tuple[float, ...], rng: np.random.Generator):
    kernels = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC)
    fill = FILL if picture.mode == "L" else (FILL,) * 3
    return picture.transform(
        picture.size,
        Image.Transform.AFFINE,
        matrix,
        kernels[int(rng.integers(2))],
        fillcolor=fill,
    )


def _rotate(picture: Image.Image, level: float, rng: np.random.Generator) -> Image.Image:
    kernels = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC)
    fill = FILL if picture.mode == "L" else (FILL,) * 3
    angle = _either(level * TURNED, rng)
    return picture.rotate(angle, kernels[int(rng.integers(2))], fillcolor=fill)


def _posterize(picture: Image.Image, level: float, rng: np.random.Generator) -> Image.Image:
    bits = POSTERIZED - int(level * POSTERIZED)
    return ImageOps.posterize(picture, bits) if bits < 8 else picture


def _solarize(picture: Image.Image, level: float, rng: np.random.Generator) -> Image.Image:
    return ImageOps.solarize(picture, SOLARIZED - min(SOLARIZED, int(level * SOLARIZED)))


def _solarize_add(picture: Image.Image, level: float, rng: np.random.Generator) -> Image.Image:
    add = min(128, int(level * ADDED))
    bands = 1 if picture.mode == "L" else 3
    return picture.point([min(255, i + add) if i < 128 else i for i in range(256)] * bands)


def _enhanced(enhancer: type) -> Operation:
    def enhance(picture: Image.Image, level: float, rng: np.random.Generator) -> Image.Image:
        return enhancer(picture).enhance(max(0.1, 1 + _either(level * ENHANCED, rng)))

    return enhance


def _shear_x(picture: Image.Image, level: float, rng: np.random.Generator) -> Image.Image:
    return _moved(picture, (1, _either(level * SHEARED, rng), 0, 0, 1, 0), rng)


def _shear_y(picture: Image.Image, level: float, rng: np.random.Generator) -> Image.Image:
    return _moved(picture, (1, 0, 0, _either(level * SHEARED, rng), 1, 0), rng)


def _move_x(picture: Image.Image, level: float, rng: np.random.Generator) -> Image.Image:
    return _moved(picture, (1, 0, _either(level * MOVED, rng) * picture.width, 0, 1, 0), rng)


def _move_y(picture: Image.Image, level: float, rng: np.random.Generator) -> Image.Image:
    return _moved(picture, (1, 0, 0, 0, 1, _either(level * MOVED, rng) * picture.height), rng)


OPERATIONS: tuple[Operation, ...] = (
    lambda picture, level, rng: ImageOps.autocontrast(picture),
    lambda picture, level, rng: ImageOps.equalize(picture),
    lambda picture, level, rng: ImageOps.invert(picture),
    _rotate,
    _posterize,
    _solarize,
    _solarize_add,
    _enhanced(ImageEnhance.Color),
    _enhanced(ImageEnhance.Contrast),
    _enhanced(ImageEnhance.Brightness),
    _enhanced(ImageEnhance.Sharpness),
    _shear_x,
    _shear_y,
    _move_x,
    _move_y,
)


def changed(
    image_yxc: np.ndarray, count: int, strength: float, rng: np.random.Generator
) -> np.ndarray:
    """uint8 [y, x, c] after `count` operations, drawn with replacement, each done half the time.

    `strength`, of at most 10, is the mean of a normal draw for each.
    """
    grey = image_yxc.shape[2] == 1
    picture = Image.fromarray(image_yxc[:, :, 0] if grey else np.ascontiguousarray(image_yxc))
    for number in rng.integers(len(OPERATIONS), size=count):
        drawn, level = rng.random() < LIKELY, rng.normal(strength, SPREAD)
        if drawn:
            level = min(max(level, 0.0), HIGHEST) / HIGHEST
            picture = OPERATIONS[number](picture, level, rng)
    image = np.asarray(picture)
    return image[:, :, None] if grey else image
