"""Folders of sound files, and which of their recordings are long enough to train on."""

import dataclasses
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np

from d2v_jax.common.checks import UserError
from d2v_jax.data.audio import alignments
from d2v_jax.data.audio.lists import librispeech
from d2v_jax.data.audio.sound_files import LARGE, RATE, RATES, header
from d2v_jax.data.audio.waves import pieces
from d2v_jax.data.progress import logged
from d2v_jax.data.records import BadRecord, Record, Source, Subset
from d2v_jax.data.stores.folder import Folder, Kind

log = logging.getLogger("d2v")

SUFFIXES = (  # of what libsndfile reads
    *(".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".aifc", ".wave"),
    *(".bwf", ".rf64", ".w64", ".caf", ".au", ".snd", ".sph", ".nist"),
)
UNREAD = (  # of sound that it does not read
    *(".m4a", ".mp4", ".m4b", ".aac", ".wma", ".amr", ".3gp", ".webm", ".mka", ".mkv", ".mov"),
    *(".ape", ".wv", ".tta", ".ac3", ".dts", ".dsf", ".spx", ".ra", ".raw", ".pcm", ".mp2"),
)
CONVERT = "convert them to flac (ffmpeg -i IN -ar 16000 -ac 1 OUT.flac)"
SOUNDS = Kind(
    "sound file",
    SUFFIXES,
    "a folder of wav, flac, ogg, opus or mp3 files (LibriSpeech's and Common Voice's too), a "
    "fairseq manifest (.tsv), tfds:NAME, a folder that d2v data prepare wrote, builtin:speech, or "
    "builtin:tones",
    unread=dict.fromkeys(UNREAD, CONVERT),
    held=LARGE,
)

UNKNOWN = -1  # length of a recording whose header cannot be read, or does not say
HEADER_THREADS = 8
MANY = 0.1  # share of recordings left out from which on that is a warning


class Timed(Source, Protocol):
    """A source that knows the length of each recording without decoding it."""

    lengths: np.ndarray  # int64 [n], samples at 16 kHz, or UNKNOWN

    def name(self, index: int) -> str:
        """That of the record, without reading it."""
        ...


class Sounds(Folder):
    """A folder of wav, flac and ogg files, of any sample rate and number of channels.

    In LibriSpeech's own tree the class is the speaker, and records have transcripts.
    """

    def __init__(self, root: str | os.PathLike):
        """Lists the files and reads their headers. Raises `UserError` as `Folder` does."""
        super().__init__(root, SOUNDS)
        paths = [self.root / path for path in self.paths]
        with ThreadPoolExecutor(HEADER_THREADS) as pool:
            lengths = logged(pool.map(_length, paths), f"reading headers in {root}", len(paths))
            self.lengths = np.fromiter(lengths, np.int64, len(paths))
        self._texts: list[str | None] | None = None
        if (speaker_n := librispeech.speakers(self.names)) is not None:
            self._set_classes(speaker_n)
            self._texts = librispeech.transcripts(self.root, self.paths)

    def read(self, index: int) -> Record:
        record = super().read(index)
        if self._texts is None:
            return record
        return dataclasses.replace(record, text=self._texts[index])

    def said(self, index: int) -> dict[str, list[alignments.Span]]:
        """Of the files beside it the words and phones."""
        return alignments.beside(self.root / self.paths[index])


def _length(path: os.PathLike) -> int:
    try:
        frames, rate = header(path)
    except BadRecord:
        return UNKNOWN  # stays in, so that reading it reports and counts the fault
    if frames is None or not RATES[0] <= rate <= RATES[1]:
        return UNKNOWN
    return frames * RATE // rate


def long_enough(source: Timed, name: str, crop: int, shortest: int, bucketed: bool) -> Source:
    """The recordings of at least `shortest` samples and the shortest `crop`, whichever is more.

    Those of unknown length stay. Those left out are counted in the log and are faults. Raises
    `UserError` when none is left, for `name`; `bucketed` says which field the crop is of.
    """
    least = max(crop, shortest)
    known = source.lengths != UNKNOWN
    keep = ~known | (source.lengths >= least)
    if not known.any():
        raise UserError(
            f"data.source={name!r}: none of the {len(source)} files says how long it is; "
            f"the first: {_fault(source)}. Check that they were copied completely"
        )
    if not (keep & known).any():
        field = "data.buckets" if bucketed else "data.samples"
        field = "data.min_samples" if shortest > crop else field
        longest = int(source.lengths.max())
        raise UserError(
            f"{field}={least} ({least / RATE:.2f} s): no recording of {name!r} is as long; "
            f"the longest of {len(source)} has {longest} samples at 16 kHz ({longest / RATE:.2f} "
            f"s). Lower {field}, or give longer recordings"
        )
    if keep.all():
        return source
    left_out = int((~keep).sum())
    level = logging.WARNING if left_out > MANY * len(source) else logging.INFO
    log.log(
        level,
        "%d of %d recordings (%.1f%%) of %s are left out: shorter than %.2f s",
        left_out,
        len(source),
        100 * left_out / len(source),
        name,
        least / RATE,
    )
    short = {
        source.name(index): f"{source.lengths[index]} samples, fewer than {least}"
        for index in np.flatnonzero(~keep).tolist()
    }
    return Subset(source, np.flatnonzero(keep), short)


def no_longer(source: Timed, name: str, least: int, most: int) -> Source:
    """The recordings of `least` to `most` samples; those of unknown length stay.

    Those left out are counted in the log and are faults. Raises `UserError` when none is left.
    """
    known = source.lengths != UNKNOWN
    keep = ~known | ((source.lengths >= least) & (source.lengths <= most))
    if keep.all():
        return source
    if not keep.any():
        raise UserError(
            f"none of the {len(source)} recordings of {name!r} is {least / RATE:.2f} to "
            f"{most / RATE:.2f} s long; raise data.buckets or data.samples, or lower "
            "data.min_samples"
        )
    strange = {
        source.name(index): f"{source.lengths[index]} samples, not {least} to {most}"
        for index in np.flatnonzero(~keep).tolist()
    }
    log.warning(
        "%d of %d recordings of %s are left out: not %.2f to %.2f s long",
        len(strange),
        len(source),
        name,
        least / RATE,
        most / RATE,
    )
    return Subset(source, np.flatnonzero(keep), strange)


def _fault(source: Source) -> str:
    try:
        for _ in pieces(source.read(0).data):
            pass
    except BadRecord as bad:
        return bad.reason
    return "a stream without a length"
