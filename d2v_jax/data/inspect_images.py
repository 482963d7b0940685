"""Looking at pictures."""

import io
from typing import NamedTuple

import numpy as np
from PIL import Image

from d2v_jax.data import image
from d2v_jax.data.config import ImageData
from d2v_jax.data.findings import Findings, chosen, each, listed, spread, tally
from d2v_jax.data.records import Record
from d2v_jax.data.sources import open_images

PICTURES = 36  # shown
SHOWN_SIDE = 128  # pixels


class Seen(NamedTuple):
    width: int
    height: int
    kind: str
    mode: str
    bytes: int
    mean_c: np.ndarray
    square_c: np.ndarray
    small_yxc: np.ndarray


def look(cfg: ImageData, sample: int | None) -> Findings:
    """All pictures, decoded whole: what is unreadable here is so in training."""
    source = open_images(cfg)
    numbers = chosen(len(source), sample)
    found = Findings(cfg.source, source.fingerprint, len(source), len(numbers))
    found.bad.update(getattr(source, "faults", {}))
    shown = set(chosen(len(numbers), PICTURES))
    seen = []
    for place, one in enumerate(each(source, numbers, _one, found)):
        if place in shown:
            found.pictures.append(one.small_yxc)
        seen.append(one._replace(small_yxc=np.zeros(0)))
    _summarise(found, seen, cfg)
    return found


def _one(record: Record) -> Seen:
    picture = image.decode(record.data, 3)
    kind, mode, size = "pixels", "L" if np.ndim(record.data) == 2 else "RGB", 0
    if isinstance(record.data, bytes):
        with Image.open(io.BytesIO(record.data), formats=image.FORMATS) as header:
            kind, mode, size = str(header.format), header.mode, len(record.data)
    pixels_yxc = np.asarray(picture, np.uint8)
    bins = [np.bincount(pixels_yxc[:, :, c].ravel(), minlength=256) for c in range(3)]
    levels = np.arange(256) / 255
    share_cv = np.stack(bins) / pixels_yxc[:, :, 0].size
    picture.thumbnail((SHOWN_SIDE, SHOWN_SIDE))
    height, width = pixels_yxc.shape[:2]
    return Seen(
        width, height, kind, mode, size, share_cv @ levels, share_cv @ levels**2,
        np.asarray(picture, np.uint8),
    )  # fmt: skip


def _summarise(found: Findings, seen: list[Seen], cfg: ImageData) -> None:
    width, height = (np.array([getattr(one, name) for one in seen], int)
                     for name in ("width", "height"))  # fmt: skip
    small = int((np.minimum(width, height) < cfg.image_size).sum())
    mean_c = np.mean([one.mean_c for one in seen], axis=0) if seen else np.zeros(3)
    square_c = np.mean([one.square_c for one in seen], axis=0) if seen else np.zeros(3)
    std_c = np.sqrt(np.maximum(square_c - mean_c**2, 0))
    kinds, modes = (tally([getattr(one, name) for one in seen]) for name in ("kind", "mode"))
    size = sum(one.bytes for one in seen)
    looked = f"{found.looked_at:,} of {found.records:,}" if found.looked_at < found.records \
        else f"{found.records:,}"  # fmt: skip
    numbers = lambda values: ", ".join(f"{value:.3f}" for value in values)
    found.facts = {
        "pictures": looked, "megabytes": f"{size / 1e6:,.1f}",
        "width": f"{spread(width)} (least / median / most)", "height": spread(height),
        "formats": listed(kinds), "modes": listed(modes),
        f"sides below {cfg.image_size}": f"{small:,}, which crops enlarge" if small else "0",
        "mean of R, G, B": f"{numbers(mean_c)} (each picture counts the same)",
        "std of R, G, B": numbers(std_c),
    }  # fmt: skip
    found.numbers = {
        "bytes": size, "formats": kinds, "modes": modes, "small": small,
        "mean": mean_c.tolist(), "std": std_c.tolist(),
    }  # fmt: skip
    found.histograms = {
        "shorter side, pixels": np.minimum(width, height),
        "width / height": width / np.maximum(height, 1),
    }
