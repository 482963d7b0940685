"""How pictures are cut with Pillow alone, for `d2v data bench`."""

import dataclasses
import functools
import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from d2v_jax.data.contests.contest import PLAIN, Contest
from d2v_jax.data.image import pictures
from d2v_jax.data.records import Record

HOWS = ("exact", "fast")  # of `data.resize`


def contest(how: Any, records: Sequence[Record]) -> Contest | None:
    """Both ways of resizing beside Pillow's; None where it can open none of the records.

    `how` is the `data` section of a recipe of images.
    """
    hows = {
        f"data.resize={resize!r}": dataclasses.replace(how, resize=resize, flip=0.0, jitter=0.0)
        for resize in HOWS
    }
    readable = []
    for record in records:
        try:
            plain_picture(record.data, how, _rng(0))
            readable.append(record)
        except (OSError, ValueError, SyntaxError):  # what Pillow's decoders raise
            continue
    if not readable:
        return None

    def calls(number: int) -> dict[str, Callable[[], np.ndarray]]:
        record = readable[number % len(readable)]
        return {
            PLAIN: lambda: plain_picture(record.data, how, _rng(number)),
            **{
                name: functools.partial(pictures.augment, record, one, _rng(number))
                for name, one in hows.items()
            },
        }

    loop = f"PIL: open, crop, bicubic resize to {how.image_size}"
    return Contest(loop, calls, difference=_grey_levels)


def _grey_levels(one_yxc: np.ndarray, plain_yxc: np.ndarray) -> float:
    return float(np.abs(one_yxc.astype(int) - plain_yxc).mean())


def plain_picture(
    data: bytes | np.ndarray, how: pictures.Crops, rng: np.random.Generator
) -> np.ndarray:
    """uint8 [y, x, c]: the same box as `pictures.augment` draws, with Pillow alone."""
    if isinstance(data, bytes):
        picture = Image.open(io.BytesIO(data))
    else:
        picture = Image.fromarray(data[:, :, 0] if data.shape[2:] == (1,) else data)
    picture = picture.convert(pictures.MODES[how.channels])
    box = pictures.random_resized_crop_box(*picture.size, how.crop_scale, how.crop_ratio, rng)
    sides = (how.image_size, how.image_size)
    pixels = np.asarray(picture.crop(box).resize(sides, Image.Resampling.BICUBIC))
    return pixels.reshape(*sides, how.channels)


def _rng(number: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=number))
