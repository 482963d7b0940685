"""Pictures of numbers. The only file that draws."""

import io
import math
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from d2v_jax.common.files import write_whole

BINS = 16
WIDTH = 40  # characters of the longest bar
TILE = 96  # pixels of a picture on the sheet
COLUMNS = 6


def counted(values: np.ndarray) -> dict[str, list[float]]:
    """Edges of bins, one more than counts, and counts.

    Wide ranges have logarithmic bins, whole numbers whole edges: a bin is without its upper one.
    """
    if not len(values):
        return {"edges": [], "counts": []}
    low, high = float(values.min()), float(values.max())
    if low == high:
        return {"edges": [low, high], "counts": [len(values)]}
    if low > 0 and high / low > 50:
        edges = np.geomspace(low, high, BINS + 1)
    elif np.issubdtype(values.dtype, np.integer):
        step = math.ceil((high - low + 1) / BINS)
        edges = np.arange(low, high + step + 1, step)
        high = edges[-1]
    else:
        edges = np.linspace(low, high, BINS + 1)
    edges[0], edges[-1] = low, high  # rounding must not leave the extremes out
    counts, _ = np.histogram(values, edges)
    return {"edges": [float(f"{edge:.6g}") for edge in edges], "counts": counts.tolist()}


def bars(values: np.ndarray) -> list[str]:
    """A histogram as lines of text."""
    bins = counted(values)
    edges, counts = bins["edges"], bins["counts"]
    most = max(counts, default=1)
    lines = []
    for low, high, count in zip(edges, edges[1:], counts):
        bar = "#" * math.ceil(WIDTH * count / most)
        lines.append(f"  {_short(low):>9} - {_short(high):<9} {count:9,}  {bar}".rstrip())
    return lines


def _short(number: float) -> str:
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.4g}"


def histograms(path: pathlib.Path, title: str, values: Mapping[str, np.ndarray]) -> None:
    """Writes a PNG of one histogram for each name."""
    figure, axes = _figure(len(values))
    for axis, (name, some) in zip(axes, values.items()):
        bins = counted(some)
        edges = bins["edges"]
        if edges:
            if edges[0] == edges[-1]:
                edges = [edges[0] - 0.5, edges[0] + 0.5]
            axis.stairs(bins["counts"], edges, fill=True)
            if edges[0] > 0 and edges[-1] / edges[0] > 50:
                axis.set_xscale("log")
        axis.set_xlabel(name)
        axis.set_ylabel("records")
    # parse_math: a dollar sign in a name is no formula.
    figure.suptitle(pathlib.Path(title).name, fontsize="small", parse_math=False)
    _save(path, figure)


def waves(path: pathlib.Path, waves: Mapping[str, np.ndarray], rate: int = 16_000) -> None:
    """Writes a PNG of recordings int16 [s] and their spectra over time."""
    figure, axes = _figure(2 * len(waves), 2)
    for row, (name, wave_s) in enumerate(waves.items()):
        at, spectrum = axes[2 * row], axes[2 * row + 1]
        at.plot(np.arange(len(wave_s)) / rate, wave_s / 32_768, linewidth=0.4)
        at.set_title(name[-60:], fontsize="x-small", parse_math=False)
        at.set_ylim(-1.05, 1.05)  # full scale is seen beside the frame
        frames = max(len(wave_s) // 160 - 2, 1)
        padded = np.pad(wave_s / 32_768, (0, max(0, 400 - len(wave_s)) + 400))
        windows = np.lib.stride_tricks.sliding_window_view(padded, 400)[::160][:frames]
        power_tf = np.abs(np.fft.rfft(windows * np.hanning(400))) ** 2
        spectrum.imshow(
            np.log10(power_tf.T + 1e-8),
            origin="lower",
            aspect="auto",
            extent=(0, len(wave_s) / rate, 0, rate / 2000),
        )
        spectrum.set_ylabel("kHz", fontsize="x-small")
        at.set_xlabel("s", fontsize="x-small")
    _save(path, figure)


def sheet(path: pathlib.Path, pictures: Sequence[np.ndarray]) -> None:
    """Writes a PNG of pictures uint8 [y, x, 3] side by side."""
    rows = math.ceil(len(pictures) / COLUMNS)
    whole = Image.new("RGB", (TILE * min(COLUMNS, len(pictures)), TILE * rows), "white")
    for place, picture_yxc in enumerate(pictures):
        tile = Image.fromarray(picture_yxc)
        tile.thumbnail((TILE, TILE))
        whole.paste(tile, (TILE * (place % COLUMNS), TILE * (place // COLUMNS)))
    buffer = io.BytesIO()
    whole.save(buffer, "png")
    write_whole(path, buffer.getvalue())


def _save(path: pathlib.Path, figure) -> None:
    """Whole or not at all: drawing takes a while, in which one may interrupt it."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    write_whole(path, buffer.getvalue())


def _figure(count: int, columns: int | None = None):
    """A figure and its axes, in a row or in `columns`."""
    # Late: importing it takes a second. No window is ever opened.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = columns or min(count, 3)
    rows = math.ceil(count / columns)
    figure = Figure((4.5 * columns, 2.6 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes[count:]:
        axis.set_visible(False)
    return figure, axes
