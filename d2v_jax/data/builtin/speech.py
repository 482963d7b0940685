"""builtin:speech: two thousand utterances that espeak-ng speaks, with transcripts.

Sentences of CPython's documentation, in 32 voices, which are the classes, at many speeds and
pitches. They are spoken once, into a folder of the cache that is a fairseq manifest as others
are, with the times of the phones beside each recording, and from then on read. The folder is named
by all that they depend on.
"""

import io
import itertools
import json
import logging
import os
import pathlib
import platform
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import soundfile
import soxr

from d2v_jax.common.checks import UserError
from d2v_jax.common.files import cache_folder, write_whole
from d2v_jax.data.audio.lists.manifest import Manifest
from d2v_jax.data.audio.sound_files import RATE
from d2v_jax.data.audio.waves import FULL
from d2v_jax.data.builtin import espeak, pydocs
from d2v_jax.data.progress import logged
from d2v_jax.data.records import Source, Subset

log = logging.getLogger("d2v")

SPLITS = ("train", "learn", "test")
HELD_OUT = 4  # every so many-th voice is for tests
SOUND, PHONES = ".flac", ".phn"
VERSION = 1  # raised whenever an utterance sounds different
ACCENTS = ("en", "en-us", "en-gb-scotland", "en-029")  # the first is British
SPEAKERS = ("m1", "m2", "m3", "m5", "m7", "f1", "f2", "f4")
VOICES = tuple(f"{accent}+{speaker}" for accent in ACCENTS for speaker in SPEAKERS)
EACH = 64  # utterances of a voice
SHORTEST_S, LONGEST_S = 2.0, 12.0
LETTERS = (50, 150)  # in a sentence
TWO = 0.4  # share of utterances of two sentences
SPEEDS, PITCHES, SPREADS = (130, 211), (25, 76), (30, 71)  # as espeak.Line has them
SENTENCE_END = re.compile(r"(?<=[.!?]) +(?=[A-Z])")
# Words alone: what has digits, brackets or underscores is read aloud in many ways.
SENTENCE = re.compile(r"[A-Z][A-Za-z]*(?:[,;:]?[ -][A-Za-z]+(?:'[a-z]{1,2})?)*\.")


def open_speech(split: str = "train") -> Source:
    """The recordings; the first time they are made, which takes about a minute.

    "train" are all. "learn" and "test" have neither voices nor sentences in common. Raises
    `UserError` where espeak-ng is missing or the cache cannot be written.
    """
    synthesiser = espeak.find()
    folder = cache_folder() / (
        f"speech-v{VERSION}-phones-espeak-{synthesiser.version}-python-{platform.python_version()}"
    )
    index = folder / "speech.tsv"
    try:
        if not index.is_file() or _gone(folder):
            _make(folder, index, synthesiser)
    except OSError as error:
        raise UserError(
            f"data.source='builtin:speech': cannot write {error.filename or folder}: "
            f"{error.strerror}. Free some space there (400 MB), or set D2V_CACHE to another folder"
        ) from error
    found = Manifest(index)
    return found if split == "train" else Subset(found, _apart(found)[split])


def _apart(found: Manifest) -> dict[str, np.ndarray]:
    """Numbers of the recordings: the voices of "test", less what the others say too."""
    voice_n = [name.split("/")[0] for name in found.names]
    held = set(VOICES[HELD_OUT - 1 :: HELD_OUT])
    learn = np.array([voice not in held for voice in voice_n])
    said = {one for i in np.flatnonzero(learn) for one in _sentences_of(found.text(int(i)))}
    test = [i for i in np.flatnonzero(~learn) if said.isdisjoint(_sentences_of(found.text(int(i))))]
    return {"learn": np.flatnonzero(learn), "test": np.array(test, np.int64)}


def _sentences_of(text: str | None) -> list[str]:
    return SENTENCE_END.split(text or "")


def _gone(folder: pathlib.Path) -> bool:
    """Whether files that were made are missing; then what says that they were made goes too."""
    any_gone = False
    for voice in VOICES:
        part = _part(folder, voice)
        made = _rows(part)
        there = set(os.listdir(folder / voice)) if (folder / voice).is_dir() else set()
        files = [f"{name}{suffix}" for name, _, _ in made or () for suffix in (SOUND, PHONES)]
        if made is None or not {file.split("/")[1] for file in files} <= there:
            part.unlink(missing_ok=True)
            any_gone = True
    return any_gone


def _make(folder: pathlib.Path, index: pathlib.Path, synthesiser: espeak.Espeak) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    log.info("builtin:speech is spoken once, into %s", folder)
    script = _script()

    def one(voice: str) -> None:
        if _rows(_part(folder, voice)) is None:
            _speak(folder, voice, script[voice], synthesiser)

    # Two processes that begin at once help each other, if they do not take the same voices.
    turn = os.getpid() * 7 % len(VOICES)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        voices = pool.map(one, (*VOICES[turn:], *VOICES[:turn]))
        for _ in logged(voices, "builtin:speech, voices spoken", len(VOICES)):
            pass
    rows = [row for voice in VOICES for row in _rows(_part(folder, voice)) or ()]
    write_whole(index.with_suffix(".txt"), "".join(f"{text}\n" for *_, text in rows).encode())
    lines = [".", *(f"{name}{SOUND}\t{samples}" for name, samples, _ in rows)]
    write_whole(index, "".join(f"{line}\n" for line in lines).encode())


def _script() -> dict[str, list[espeak.Line]]:
    """What each voice says, the same always for one version of Python."""
    rng = np.random.Generator(np.random.Philox(VERSION))
    known = list(_sentences())
    endless = itertools.cycle(known[place] for place in rng.permutation(len(known)))
    script = {}
    for voice in VOICES:
        script[voice] = []
        for _ in range(EACH):
            text = next(endless)
            if rng.random() < TWO:
                text = f"{text} {next(endless)}"
            numbers = [int(rng.integers(*limits)) for limits in (SPEEDS, PITCHES, SPREADS)]
            script[voice].append(espeak.Line(voice, *numbers, text))
    return script


def _sentences() -> Iterator[str]:
    """Different ones, in the order of the documentation."""
    seen = set()
    for document in pydocs.documents():
        for sentence in itertools.chain(*map(SENTENCE_END.split, document.lines)):
            fits = LETTERS[0] <= len(sentence) <= LETTERS[1]
            if fits and sentence not in seen and SENTENCE.fullmatch(sentence):
                seen.add(sentence)
                yield sentence


def _speak(
    folder: pathlib.Path, voice: str, lines: list[espeak.Line], synthesiser: espeak.Espeak
) -> None:
    """Writes the files of a voice, and behind them its part of the list."""
    rows = []
    for number, said in enumerate(espeak.say(synthesiser, lines)):
        wave_s = soxr.resample(said.wave_s.astype(np.float32), said.rate, RATE)
        wave_s = np.clip(np.rint(wave_s), -FULL, FULL - 1).astype(np.int16)
        if not SHORTEST_S * RATE <= len(wave_s) <= LONGEST_S * RATE:
            continue
        name = f"{voice}/{number:02d}"
        buffer = io.BytesIO()
        soundfile.write(buffer, wave_s, RATE, format="FLAC", subtype="PCM_16")
        write_whole(folder / f"{name}{SOUND}", buffer.getvalue())
        write_whole(folder / f"{name}{PHONES}", _times(said, len(wave_s)).encode())
        rows.append((name, len(wave_s), lines[number].text))
    write_whole(_part(folder, voice), json.dumps(rows).encode())


def _times(said: espeak.Spoken, samples: int) -> str:
    """A line for each phone, without its stress: its first sample at 16 kHz, its end, its name."""
    begins = [min(first * RATE // said.rate, samples) for _, first in said.phones] + [samples]
    names = [name.lstrip("',%=") for name, _ in said.phones]
    spans = zip(begins, begins[1:], names)
    return "".join(f"{first} {last} {name}\n" for first, last, name in spans if last > first)


def _part(folder: pathlib.Path, voice: str) -> pathlib.Path:
    return folder / "made" / f"{voice}.json"


def _rows(part: pathlib.Path) -> list[tuple[str, int, str]] | None:
    """(name, samples, text) of a voice's recordings; None where they are not made."""
    try:
        return json.loads(part.read_text())
    except (FileNotFoundError, ValueError):
        return None
