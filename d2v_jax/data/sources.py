"""From the data section of a recipe to records, and from a record to its part of a batch."""

import dataclasses
import difflib
import functools
from collections.abc import Callable

import numpy as np

from d2v_jax.common.checks import UserError
from d2v_jax.data.audio import manifest, waves
from d2v_jax.data.audio.recordings import Sounds, long_enough
from d2v_jax.data.audio.remembered import Remembered
from d2v_jax.data.audio.tfds_audio import TfdsAudio
from d2v_jax.data.builtin import pydocs
from d2v_jax.data.builtin.photos import PhotoWindows
from d2v_jax.data.builtin.speech import open_speech
from d2v_jax.data.builtin.tones import Tones
from d2v_jax.data.config import AudioData, DataConfig, ImageData, TextData
from d2v_jax.data.image import pictures
from d2v_jax.data.records import Concatenated, Example, Record, Source
from d2v_jax.data.stores import shards, tfds_source
from d2v_jax.data.stores.folder import IMAGES, SOUNDS, TEXTS, Folder, Kind
from d2v_jax.data.stores.prepared import Prepared, looks_prepared
from d2v_jax.data.text import rows
from d2v_jax.data.text.blocks import Blocks
from d2v_jax.data.text.corpus import tokenize
from d2v_jax.data.text.documents import Texts
from d2v_jax.data.text.stored_ids import open_tokens
from d2v_jax.data.text.textfiles import TextFiles
from d2v_jax.data.text.tfds_text import TfdsText
from d2v_jax.data.text.tokenizer import tokenizer_of

JOIN = " + "
BUILTIN_PREFIX = "builtin:"
PHOTOS = "builtin:photos"
TONES = "builtin:tones"
SPEECH = "builtin:speech"
PYTHON_DOCS = "builtin:python-docs"


@dataclasses.dataclass(frozen=True)
class Data:
    """What the loader needs to know of a modality. Pickles.

    `source` holds the records of all mixed sources, one behind the other, `sizes` of them each.
    `cut(record, rng, length)` makes an example of a record and raises `BadRecord` where it
    cannot; `follows` are the settings its result depends on. `buckets` are pairs of a length and
    the record numbers that are cut to it.
    """

    source: Source
    sizes: tuple[int, ...]
    buckets: tuple[tuple[int, np.ndarray], ...]
    cut: Callable[[Record, np.random.Generator, int], Example]
    follows: tuple[object, ...]


def open_data(cfg: DataConfig) -> Data:
    """Opens `cfg.source`, one or several joined by " + ". Here modalities are told apart.

    Raises `UserError` where there is nothing to read, saying what to give instead.
    """
    match cfg:
        case AudioData():
            sources = [open_audio(one) for one in each_source(cfg)]
            lengths = np.concatenate([source.lengths for source in sources])
            sources = [Remembered(source) for source in sources]
            buckets = buckets_of(lengths, cfg.buckets or (cfg.samples,))
            cut, follows = waves.random_crop, ("audio", cfg.samples, cfg.buckets)
        case ImageData():
            sources = [open_images(one) for one in each_source(cfg)]
            follows = (
                cfg.image_size, cfg.channels, tuple(cfg.crop_scale), tuple(cfg.crop_ratio),
                cfg.flip, cfg.jitter, cfg.resize,
            )  # fmt: skip
            buckets = None
            cut = functools.partial(pictures.example, cfg=cfg)
        case TextData():
            sources = [open_text(one) for one in each_source(cfg)]
            buckets = None
            cut, follows = rows.padded, ("text", cfg.tokens)
    sizes = tuple(map(len, sources))
    if buckets is None:
        buckets = ((cfg.example_shape[0], np.arange(sum(sizes))),)
    source = sources[0] if len(sources) == 1 else Concatenated(sources)
    return Data(source, sizes, buckets, cut, follows)


def each_source(cfg: DataConfig) -> list[DataConfig]:
    """`cfg` for each of the sources that its `source` joins."""
    parts = [part.strip() for part in cfg.source.split(JOIN)]
    return [dataclasses.replace(cfg, source=part) for part in parts]


def buckets_of(lengths_n: np.ndarray, edges: tuple[int, ...]) -> tuple[tuple[int, np.ndarray], ...]:
    """Each record in the bucket of the longest crop that it can fill; unknown ones in the first."""
    number_n = np.maximum(np.searchsorted(edges, lengths_n, side="right") - 1, 0)
    return tuple((edge, np.flatnonzero(number_n == i)) for i, edge in enumerate(edges))


def open_images(cfg: ImageData) -> Source:
    """Opens whatever `IMAGES.sources` names."""
    source = _named(cfg, IMAGES)
    if source.startswith(tfds_source.PREFIX):
        return tfds_source.Tfds(source, cfg.split)
    _only_train(cfg)
    if source.startswith(BUILTIN_PREFIX):
        _check_builtin(source, PHOTOS)
        return PhotoWindows(cfg.image_size)
    if looks_prepared(source):
        return Prepared(source, "image")
    if shards.looks_like_shards(source):
        return shards.Shards(source)
    return Folder(source, IMAGES)


def open_audio(cfg: AudioData) -> Source:
    """Opens whatever `SOUNDS.sources` names; only utterances that are long enough."""
    source = _named(cfg, SOUNDS)
    if source.startswith(tfds_source.PREFIX):
        return long_enough(TfdsAudio(source, cfg.split), cfg)
    _only_train(cfg)
    if source.startswith(BUILTIN_PREFIX):
        _check_builtin(source, SPEECH, TONES)
        return long_enough(open_speech() if source == SPEECH else Tones(), cfg)
    if source.lower().endswith(manifest.SUFFIX):
        return long_enough(manifest.Manifest(source), cfg)
    if looks_prepared(source):
        return long_enough(Prepared(source, "audio"), cfg)
    return long_enough(Sounds(source), cfg)


def open_text(cfg: TextData) -> Source:
    """Opens whatever `TEXTS.sources` names and cuts its tokens into blocks."""
    tokenizer = tokenizer_of(cfg)
    if looks_prepared(_named(cfg, TEXTS)):
        _only_train(cfg)
        return Blocks(open_tokens(cfg, tokenizer), cfg)
    texts = open_documents(cfg)
    corpus = tokenize(texts.documents(), tokenizer, texts.class_names)
    texts.check_faults(cfg.max_bad_share)
    return Blocks(corpus, cfg, texts.faults)


def open_documents(cfg: TextData) -> Texts:
    """Opens the documents of a source that is not prepared."""
    source = _named(cfg, TEXTS)
    if source.startswith(tfds_source.PREFIX):
        return TfdsText(source, cfg.split, cfg.column)
    _only_train(cfg)
    if source.startswith(BUILTIN_PREFIX):
        _check_builtin(source, PYTHON_DOCS)
        return pydocs.PythonDocs()
    return TextFiles(source, cfg.column)


def _named(cfg: DataConfig, kind: Kind) -> str:
    source = cfg.source.strip()
    if not source:
        raise UserError(f"data.source is empty; give {kind.sources}")
    return source


def _only_train(cfg: DataConfig) -> None:
    if cfg.split != "train":
        raise UserError(
            f"data.split={cfg.split!r}: only tfds:NAME sources have splits; leave it 'train' "
            f"for {cfg.source!r}"
        )


def _check_builtin(source: str, *known: str) -> None:
    """Raises `UserError` unless `source` is one of the built-in sets of its modality."""
    if source in known:
        return
    sets = " and ".join(known)
    if source in (PHOTOS, SPEECH, TONES, PYTHON_DOCS):
        raise UserError(
            f"data.source={source!r} is of another modality than this recipe, which knows the "
            f"built-in {sets}"
        )
    near = difflib.get_close_matches(source, known, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]}?" if near else ""
    raise UserError(f"data.source={source!r}: there is no such built-in set; known: {sets}.{hint}")
