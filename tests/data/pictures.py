"""Small real pictures to put into files."""

import io

import numpy as np
from PIL import Image


def ramp(width: int = 60, height: int = 40) -> np.ndarray:
    """uint8 [y, x, 3]: red grows with x, green with y, blue with their sum."""
    y, x = np.mgrid[:height, :width]
    channels = (x / (width - 1), y / (height - 1), (x + y) / (width + height - 2))
    return (np.stack(channels, -1) * 255).round().astype(np.uint8)


def encoded(picture: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def jpeg(number: int = 0) -> bytes:
    """A picture that is told from others of another number by its pixels."""
    image_yxc = np.roll(ramp(), number * 3, axis=1)
    return encoded(Image.fromarray(image_yxc), "jpeg", quality=95)
