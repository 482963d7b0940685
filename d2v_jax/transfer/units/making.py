"""From recordings to units: frames are clustered, and each recording gets its clusters' numbers."""

import logging
import pathlib
import shutil
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from d2v_jax.common.checks import UserError
from d2v_jax.common.files import written_whole
from d2v_jax.data.audio.alignments import Span
from d2v_jax.data.audio.data import AudioData
from d2v_jax.data.audio.sound_files import RATE
from d2v_jax.data.audio.waves import decode
from d2v_jax.data.labelled import sounds
from d2v_jax.data.records import BadRecord, Source
from d2v_jax.data.units import units
from d2v_jax.data.units.units import Units
from d2v_jax.transfer import feature_files
from d2v_jax.transfer.units import clusters, report
from d2v_jax.transfer.units.frames import MFCC, Frames, frames

log = logging.getLogger("d2v")

CHUNK = 2**23  # samples whose frames are held together
MOST = 256  # recordings that are
EVERY = 5.0  # seconds between two lines of progress


class Options(NamedTuple):
    """`of`: "mfcc", or a checkpoint and its `layer`; `like`: units whose centres are taken.

    Centres are learnt of `sample_mb` MiB of frames at most.
    """

    of: str = MFCC
    layer: str | None = None
    clusters: int = 100
    like: pathlib.Path | None = None
    sample_mb: int = 1024
    seed: int = 0


class Spoken(NamedTuple):
    """A recording, as it is decoded."""

    name: str
    wave_s: np.ndarray


def make(data: AudioData, out: pathlib.Path, options: Options) -> str:
    """Writes the units of all recordings of `data` into the folder `out`; returns a report.

    Goes on where it was interrupted. Raises `UserError` for whatever is amiss.
    """
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise UserError(f"{out} is there already; remove it, or give a new folder for the units")
    known = None if options.like is None else Units(str(options.like))
    if known is not None:
        options = options._replace(clusters=known.clusters)
    one = frames(options.of, options.layer, data.modality)
    if known is not None and known.about.get("follows") != list(one.follows):
        raise UserError(
            f"--like {options.like}: its centres are of {known.about.get('of')}, not of "
            f"{one.name}; give the same --of and --layer"
        )
    sources = [each.records(least=one.field) for each in data.each()]
    about = {"source": data.source, "split": data.split, "follows": list(one.follows)}
    about |= {"clusters": options.clusters, "seed": options.seed, "mb": options.sample_mb}
    about["like"] = None if known is None else known.fingerprint
    parts = feature_files.Parts(out, about | {"data": [s.fingerprint for s in sources]})
    centers_kd = _centers(sources, one, parts.folder / units.CENTERS, options, known)
    inertia = _assign(sources, one, centers_kd, parts)
    if not parts.done:
        shutil.rmtree(parts.folder, ignore_errors=True)
        raise UserError(f"no recording of {data.source!r} could be read, so there are no units")
    spoken = _with_phones(sources, parts)
    joint_kp, phones = report.joint(spoken, len(centers_kd), one.step, one.field)
    counts_k = sum(np.bincount(p.features, minlength=len(centers_kd)) for p in parts.parts())
    found = report.numbers(counts_k, joint_kp)
    if inertia is not None:
        found["inertia_per_frame"] = inertia
    rate = RATE / one.step
    about |= {"of": one.name, "rate": rate, "report": found}
    try:
        if phones:
            report.draw(out / report.PICTURE, joint_kp, phones)
        each = lambda: (units.Part(*part) for part in parts.parts())
        units.write(out, each, centers_kd, about)
    except OSError as error:
        raise UserError(f"{out} cannot be written: {error.strerror or error}") from None
    shutil.rmtree(parts.folder, ignore_errors=True)
    head = (
        f"{out}: units of {len(parts.done):,} recordings, {found['units']:,} at {rate:g} a second"
    )
    return "\n".join([f"{head}, of {one.name}", *report.lines(found, len(centers_kd))])


def _centers(
    sources: Sequence[Source],
    one: Frames,
    kept: pathlib.Path,
    options: Options,
    known: Units | None,
) -> np.ndarray:
    """Of `known` units, those of an interrupted call, or learnt."""
    if known is not None:
        return known.centers()
    if kept.is_file():
        log.info("the centres of an interrupted call are kept")
        return np.load(kept, allow_pickle=False)
    sample_td = _sample(sources, one, options)
    log.info("clustering %d frames of %s", *(len(sample_td), one.name))
    centers_kd = clusters.learned(sample_td, options.clusters, options.seed)
    with written_whole(kept) as path, path.open("wb") as file:
        np.save(file, centers_kd)
    return centers_kd


def _sample(sources: Sequence[Source], one: Frames, options: Options) -> np.ndarray:
    """Frames [t, d] of whole recordings, drawn without replacement until there are enough."""
    places = [(source, index) for source in sources for index in range(len(source))]
    order = np.random.Generator(np.random.Philox(options.seed)).permutation(len(places))
    sample_td, have = np.zeros((0, 0), np.float32), 0
    shown = time.monotonic()
    for chunk in _chunks(_spoken(places[place] for place in order.tolist())):
        found_td = np.concatenate(one.of([spoken.wave_s for spoken in chunk]))
        if not have:
            most = max(options.clusters, options.sample_mb * 2**20 // (4 * found_td.shape[1]))
            # Pages are taken from the system as they are filled.
            sample_td = np.empty((most, found_td.shape[1]), np.float32)
        found_td = found_td[: len(sample_td) - have]
        sample_td[have : have + len(found_td)] = found_td
        have += len(found_td)
        if have == len(sample_td):
            break
        if time.monotonic() - shown > EVERY:
            shown = time.monotonic()
            log.info("%d frames to cluster so far, at most %d", have, len(sample_td))
    return sample_td[:have]


def _assign(
    sources: Sequence[Source], one: Frames, centers_kd: np.ndarray, parts: feature_files.Parts
) -> float | None:
    """Keeps the ids of what has none yet; -> the mean squared distance, if all were done here."""
    whole, total, done, count = not parts.done, 0.0, len(parts.done), 0
    number = sum(map(len, sources))
    if done:
        log.info("%d recordings have their units from before", done)
    places = ((source, index) for source in sources for index in range(len(source)))
    shown = time.monotonic()
    for chunk in _chunks(_spoken(places, parts.done)):
        found = one.of([spoken.wave_s for spoken in chunk])
        ids, distance = clusters.nearest(np.concatenate(found), centers_kd)
        names = [spoken.name for spoken in chunk]
        for name in names:
            if name in parts.done:
                raise UserError(
                    f"two recordings are called {name!r}, and units are found by their names; "
                    "rename one of them"
                )
            parts.done.add(name)
        parts.add(feature_files.Part(names, ids, np.array(list(map(len, found)), np.int64)))
        total, count, done = total + distance, count + len(ids), done + len(chunk)
        if time.monotonic() - shown > EVERY:
            shown = time.monotonic()
            log.info("units of %d of %d recordings", done, number)
    return total / count if whole and count else None


def _spoken(places: Iterable[tuple[Source, int]], done: Collection[str] = ()) -> Iterator[Spoken]:
    """The readable ones that are not `done`; the others are named, and counted at the end."""
    skipped = 0
    done = frozenset(done)
    for source, index in places:
        name = f"record {index}"
        try:
            record = source.read(index)
            name = record.name
            if name in done:
                continue
            wave_s = decode(record.data)
        except BadRecord as bad:
            skipped += 1
            log.warning("skipped %s: %s", bad.name or name, bad.reason)
            continue
        yield Spoken(name, wave_s)
    if skipped:
        log.warning("%d recordings cannot be read and get no units", skipped)


def _chunks(spoken: Iterator[Spoken]) -> Iterator[list[Spoken]]:
    chunk: list[Spoken] = []
    samples = 0
    for one in spoken:
        chunk.append(one)
        samples += len(one.wave_s)
        if samples >= CHUNK or len(chunk) >= MOST:
            yield chunk
            chunk, samples = [], 0
    if chunk:
        yield chunk


def _with_phones(
    sources: Sequence[Source], parts: feature_files.Parts
) -> Iterator[tuple[np.ndarray, list[Span]]]:
    """Units of recordings, and their phones, of sources that know these."""
    places = {
        source.name(index): (source, index)
        for source in filter(sounds.knows, sources)
        for index in range(len(source))
    }
    for part in parts.parts():
        each = np.split(part.features, np.cumsum(part.counts)[:-1])
        for name, ids_t in zip(part.names, each):
            if name in places:
                yield ids_t, sounds.said(*places[name]).get("phone", [])
