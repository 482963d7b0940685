"""Units as fairseq has them: MANIFEST.km beside MANIFEST.tsv, and dict.km.txt.

Each line of the .km file has the labels of one recording of the manifest, parted by spaces. Line i
of the dictionary, "LABEL COUNT", says which label is cluster i.
"""

import hashlib
import pathlib
from collections.abc import Mapping

import numpy as np

from d2v_jax.common.checks import UserError
from d2v_jax.common.names import place
from d2v_jax.data.audio.lists import manifest
from d2v_jax.data.records import BadRecord, fingerprint_of
from d2v_jax.data.units.units import Named, Units

SUFFIX = ".km"
DICTIONARY = "dict.km.txt"
CHUNK = 1 << 24  # bytes looked through at once


class Km(Units):
    """One file of them; lines are read when they are asked for. The file does not say its rate."""

    def __init__(self, path: str):
        """Raises `UserError` where one of the three files is missing or does not fit the others."""
        self.path = path
        file = place(path)
        self._clusters = _dictionary(file.with_name(DICTIONARY), path)
        names = manifest.names_in(file.with_suffix(manifest.SUFFIX))
        try:
            some = file.stat().st_size > 0
            self._bytes = np.memmap(file, np.uint8, "r") if some else np.zeros(0, np.uint8)
        except OSError as error:
            raise UserError(f"data.units: {path!r} cannot be read: {error.strerror}") from error
        digest, ends = hashlib.sha256(), []
        for first in range(0, len(self._bytes), CHUNK):
            part = self._bytes[first : first + CHUNK]
            digest.update(part.tobytes())
            ends.append(np.flatnonzero(part == ord("\n")) + first)
        if len(self._bytes) and self._bytes[-1] != ord("\n"):
            ends.append(np.array([len(self._bytes)]))
        self._ends = np.concatenate(ends) if ends else np.zeros(0, np.int64)
        if len(self._ends) != len(names):
            raise UserError(
                f"data.units: {path!r} has {len(self._ends)} lines, and the manifest beside it "
                f"{len(names)} recordings; they are of different lists"
            )
        self.clusters = len(self._clusters)
        self._place = {name: number for number, name in enumerate(names)}
        self.fingerprint = fingerprint_of(("km", names, list(self._clusters), digest.hexdigest()))

    def __reduce__(self):
        return Km, (self.path,)

    def check(self, rate: float, sources: Mapping[str, Named]) -> None:
        self.check_names(
            sources, "Give the manifest beside it as data.source, or make units: d2v units"
        )

    def ids(self, name: str) -> np.ndarray:
        number = self.number(name)
        first = int(self._ends[number - 1]) + 1 if number else 0
        labels = self._bytes[first : int(self._ends[number])].tobytes().split()
        try:
            return np.array([self._clusters[label] for label in labels], np.int32)
        except KeyError as error:
            strange = error.args[0].decode(errors="replace")
            raise BadRecord(
                f"has the label {strange[:40]!r} in {self.path}, which {DICTIONARY} lacks",
                name,
            ) from None


def _dictionary(path: pathlib.Path, units: str) -> dict[bytes, int]:
    """Clusters by label."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise UserError(
            f"data.units: {units!r} needs {DICTIONARY} beside it, which cannot be read "
            f"({error.strerror}); it has a line 'LABEL COUNT' for each cluster, in their order"
        ) from error
    labels = [line.split()[0] if line.split() else b"" for line in lines]
    found = {label: number for number, label in enumerate(labels)}
    if not found or len(found) < len(labels) or b"" in found:
        raise UserError(
            f"data.units: {path} must have a line 'LABEL COUNT' for each cluster, no label twice"
        )
    return found
