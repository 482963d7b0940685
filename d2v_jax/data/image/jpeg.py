"""JPEG files by way of libjpeg-turbo, which can also decode them at a fraction of their size."""

import numpy as np
import simplejpeg
from PIL import Image

MAGIC = b"\xff\xd8\xff"
LARGEST = 89_478_485  # pixels; larger ones are not reduced while they are decoded
COLOURS = {"Gray", "YCbCr", "RGB"}  # CMYK is left to Pillow


def size_of(data: object, most: int | None = None) -> tuple[int, int] | None:
    """Width and height of a JPEG file by its header; None for what `pixels` would not take.

    That is everything but grey and RGB JPEG files of no more than `LARGEST` and `most` pixels.
    """
    if not isinstance(data, bytes) or not data.startswith(MAGIC):
        return None
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError:
        return None
    if colours not in COLOURS or width * height > min(LARGEST, most or LARGEST):
        return None
    return width, height


def pixels(data: bytes, channels: int, least: tuple[int, int] | None = None) -> np.ndarray | None:
    """Decodes what `size_of` knows the size of: uint8 [y, x, c], the same pixels as Pillow's.

    `least` (width, height) asks for speed instead: colours are not interpolated, and the picture
    is decoded at the smallest of 1/2, 3/8, 1/4 and 1/8 of its size that is no smaller, if there
    is one. Returns None for a file with any fault, down to those that Pillow overlooks.
    """
    grey = channels == 1 and simplejpeg.decode_jpeg_header(data)[2] == "Gray"
    options = {}
    if least is not None:
        options = {"min_width": least[0], "min_height": least[1], "min_factor": 2}
        options |= {"fastdct": True, "fastupsample": True}
    try:
        image_yxc = simplejpeg.decode_jpeg(data, "GRAY" if grey else "RGB", **options)
    except ValueError:
        return None
    if channels == 1 and not grey:
        return np.asarray(Image.fromarray(image_yxc).convert("L"))[:, :, None]
    return image_yxc
