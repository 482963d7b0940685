"""Features on their way to a file: parts beside it while they are made, then one file.

Nothing but one part and the names is ever held in memory.
"""

import json
import pathlib
import shutil
import zipfile
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from d2v_jax.common.checks import UserError
from d2v_jax.common.files import write_whole, written_whole

ABOUT = "about.json"


class Part(NamedTuple):
    """Features float32 [n, d] of n examples or, with `counts` int64 [n], [t, d] of their tokens."""

    names: list[str]
    features: np.ndarray
    counts: np.ndarray | None = None


class Whole(NamedTuple):
    """What becomes one file: `pieces` [rows, d] follow each other, `shape` is that of all.

    With `offsets` int64 [n + 1] example i has the rows offsets[i] to offsets[i + 1]; a piece holds
    whole examples.
    """

    names: list[str]
    offsets: np.ndarray | None
    pieces: Iterator[np.ndarray]
    shape: tuple[int, int]


class Parts:
    """Those of one file, kept until it is whole; another call with the same words goes on."""

    def __init__(self, out: pathlib.Path, about: dict[str, Any]):
        """`about`: all that the features depend on; parts about anything else are thrown away."""
        self._out = out
        self.folder = out.with_name(f".{out.name}.parts")
        try:
            known = json.loads((self.folder / ABOUT).read_text())
        except (OSError, ValueError):
            known = None
        if known != json.loads(json.dumps(about)):
            shutil.rmtree(self.folder, ignore_errors=True)
            write_whole(self.folder / ABOUT, json.dumps(about).encode())
        self._count = len(list(self.folder.glob("part-*.npz")))
        self.done = {name for part in self.parts() for name in part.names}

    def _paths(self) -> list[pathlib.Path]:
        return [self.folder / f"part-{number:05d}.npz" for number in range(self._count)]

    def parts(self) -> Iterator[Part]:
        """Those that are kept, in order."""
        for path in self._paths():
            with np.load(path) as held:
                counts = held["counts"] if "counts" in held else None
                yield Part([str(name) for name in held["names"]], held["features"], counts)

    def add(self, part: Part) -> None:
        """Keeps it on the disk."""
        path = self.folder / f"part-{self._count:05d}.npz"
        arrays = {"names": np.array(part.names), "features": part.features}
        if part.counts is not None:
            arrays["counts"] = part.counts
        with written_whole(path) as place, place.open("wb") as file:
            np.savez(file, **arrays)
        self._count += 1

    def finish(self) -> tuple[int, tuple[int, int]]:
        """Writes the file; -> (number of examples, shape of all features)."""
        names, counts, rows, width = [], [], 0, 0
        for part in self.parts():
            names += part.names
            rows, width = rows + len(part.features), part.features.shape[1]
            if part.counts is not None:
                counts.append(part.counts)
        if not names:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise UserError("there was nothing to encode")
        offsets = np.concatenate([[0], np.cumsum(np.concatenate(counts))]) if counts else None
        pieces = (np.ascontiguousarray(part.features, "<f4") for part in self.parts())
        with written_whole(self._out) as place:
            WRITERS[self._out.suffix](place, Whole(names, offsets, pieces, (rows, width)))
        shutil.rmtree(self.folder, ignore_errors=True)
        return len(names), (rows, width)


def _npz(place: pathlib.Path, whole: Whole) -> None:
    names, offsets, pieces, shape = whole
    with zipfile.ZipFile(place, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:

        def member(name: str, dtype: np.dtype, shape: tuple[int, ...], data) -> None:
            about = {
                "descr": np.lib.format.dtype_to_descr(dtype),
                "fortran_order": False,
                "shape": shape,
            }
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array_header_2_0(file, about)
                for piece in data:
                    file.write(piece.tobytes())

        listed = np.array(names)
        member("names", listed.dtype, listed.shape, [listed])
        if offsets is not None:
            member("offsets", np.dtype("<i8"), offsets.shape, [offsets.astype("<i8")])
        member("features", np.dtype("<f4"), shape, pieces)


def _safetensors(place: pathlib.Path, whole: Whole) -> None:
    """The format has no texts: names stand in its metadata, as a JSON list."""
    names, offsets, pieces, shape = whole
    size = 4 * shape[0] * shape[1]
    header: dict[str, Any] = {"__metadata__": {"names": json.dumps(list(names))}}
    header["features"] = {"dtype": "F32", "shape": list(shape), "data_offsets": [0, size]}
    if offsets is not None:
        ends = [size, size + 8 * len(offsets)]
        header["offsets"] = {"dtype": "I64", "shape": [len(offsets)], "data_offsets": ends}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with place.open("wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for piece in pieces:
            file.write(piece.tobytes())
        if offsets is not None:
            file.write(offsets.astype("<i8").tobytes())


def _parquet(place: pathlib.Path, whole: Whole) -> None:
    """A row for each example: "name" and "features", of all tokens a list of lists."""
    import pyarrow as pa  # takes a while
    from pyarrow import parquet

    names, offsets, pieces, shape = whole
    row = pa.list_(pa.float32(), shape[1])
    kind = row if offsets is None else pa.list_(row)
    schema = pa.schema([("name", pa.string()), ("features", kind)])
    first = 0
    # pyarrow takes no path that is not UTF-8.
    with place.open("wb") as file, parquet.ParquetWriter(file, schema) as writer:
        for piece in pieces:
            values = pa.FixedSizeListArray.from_arrays(pa.array(piece.ravel()), shape[1])
            count = len(piece)
            if offsets is not None:
                begin = offsets[first]
                count = int(np.searchsorted(offsets, begin + len(piece), side="right")) - 1 - first
                own = offsets[first : first + count + 1] - begin
                values = pa.ListArray.from_arrays(pa.array(own.astype(np.int32)), values)
            columns = [pa.array(list(names[first : first + count])), values]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))
            first += count


WRITERS = {".npz": _npz, ".safetensors": _safetensors, ".parquet": _parquet}
