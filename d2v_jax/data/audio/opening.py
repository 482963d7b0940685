"""From the name of a source of sound to its recordings."""

import logging
import pathlib
from collections.abc import Callable

import numpy as np

from d2v_jax.data.audio.lists import manifest, segments
from d2v_jax.data.audio.lists.tfds_audio import TfdsAudio
from d2v_jax.data.audio.recordings import SOUNDS, Sounds, Timed
from d2v_jax.data.audio.sound_files import RATE
from d2v_jax.data.audio.waves import LONG
from d2v_jax.data.builtin.speech import SPLITS as SPEECH_SPLITS
from d2v_jax.data.builtin.speech import open_speech
from d2v_jax.data.builtin.tones import Tones
from d2v_jax.data.sources import BUILTIN_PREFIX, SPEECH, TONES, check_builtin, named, only_train
from d2v_jax.data.stores import tfds_source
from d2v_jax.data.stores.prepared import Prepared, looks_prepared

log = logging.getLogger("d2v")

BUILTIN: dict[str, Callable[[str], Timed]] = {SPEECH: open_speech, TONES: lambda split: Tones()}
SPLITS = {SPEECH: SPEECH_SPLITS}  # of those that have more than "train"


def open_audio(source: str, split: str) -> Timed:
    """Opens whatever `SOUNDS.sources` names."""
    name = named(source, SOUNDS.sources)
    if name.startswith(tfds_source.PREFIX):
        return TfdsAudio(name, split)
    only_train(source, split, SPLITS.get(name, ("train",)))
    if name.startswith(BUILTIN_PREFIX):
        check_builtin(name, *BUILTIN)
        return BUILTIN[name](split)
    if name.lower().endswith(manifest.SUFFIX):
        return _hinted(manifest.Manifest(name), name)
    if segments.looks_listed(name) and not pathlib.Path(name).is_dir():
        return segments.Segments(name)
    if looks_prepared(name):
        return Prepared(name, "audio", "audio", has_lengths=True)
    return _hinted(Sounds(name), name)


def _hinted(source: Timed, name: str) -> Timed:
    """`source`; long recordings in it are said to be slow."""
    if many := int((source.lengths > LONG).sum()):
        log.warning(
            "%d of %d recordings of %s are longer than %.0f minutes: the first crop of each "
            "reads all of it, for its mean and variance. d2v data prepare does that once",
            *(many, len(source), name, LONG / RATE / 60),
        )
    return source


def padded_buckets(
    lengths_n: np.ndarray, edges: tuple[int, ...]
) -> tuple[tuple[int, np.ndarray], ...]:
    """Each record in the shortest bucket that holds it; unknown ones in the longest."""
    number_n = np.searchsorted(edges, np.where(lengths_n < 0, edges[-1], lengths_n))
    number_n = np.minimum(number_n, len(edges) - 1)
    return tuple((edge, np.flatnonzero(number_n == i)) for i, edge in enumerate(edges))


def buckets_of(lengths_n: np.ndarray, edges: tuple[int, ...]) -> tuple[tuple[int, np.ndarray], ...]:
    """Each record in the bucket of the longest crop that it can fill; unknown ones in the first."""
    number_n = np.maximum(np.searchsorted(edges, lengths_n, side="right") - 1, 0)
    return tuple((edge, np.flatnonzero(number_n == i)) for i, edge in enumerate(edges))
