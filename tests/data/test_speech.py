"""builtin:speech is spoken once, the same every time, and can be interrupted."""

import importlib.util
import itertools
import pathlib
import subprocess
import sys
import time

import numpy as np
import pytest

from d2v_jax.common.checks import UserError
from d2v_jax.data.audio.waves import decode
from d2v_jax.data.builtin import espeak, speech
from d2v_jax.data.loader import open_batches


def installed() -> bool:
    try:
        espeak.find()
    except UserError:
        return False
    return True


needs_espeak = pytest.mark.skipif(not installed(), reason="espeak-ng is not installed")
LINE = espeak.Line("en-us+m3", 160, 40, 50, "Return the name of the file.")


@pytest.fixture
def cache(tmp_path, monkeypatch) -> pathlib.Path:
    monkeypatch.setenv("D2V_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def few(monkeypatch) -> None:
    """Three voices of four utterances."""
    monkeypatch.setattr(speech, "VOICES", ("en+m1", "en-us+f2", "en-029+m3"))
    monkeypatch.setattr(speech, "EACH", 4)


def contents(folder: pathlib.Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@needs_espeak
def test_utterances_with_transcripts(audio, cache, few, tmp_path, monkeypatch):
    source = audio("builtin:speech").records()
    assert 8 <= len(source) <= 12 and source.class_names == ("en+m1", "en-029+m3", "en-us+f2")
    texts = [line.text for lines in speech._script().values() for line in lines]
    for index in range(len(source)):
        record = source.read(index)
        wave = decode(record.data)
        assert wave.dtype == np.int16 and len(wave) == source.lengths[index]
        assert 32_000 <= len(wave) <= 192_000 and wave.std() > 300
        assert record.text in texts and record.text.endswith(".")
        assert record.name.startswith(source.class_names[record.label])
        phones = source.said(index)["phone"]
        assert phones[-1][2] <= len(wave) and len({name for name, _, _ in phones}) > 10
        for (_, first, last), (_, following, _) in itertools.pairwise(phones):
            assert first < last == following
        loud = [
            float(np.abs(wave[first:last]).mean()) for name, first, last in phones if name > "_z"
        ]
        still = [
            float(np.abs(wave[first:last]).mean()) for name, first, last in phones if name == "_:"
        ]
        assert np.mean(still) < 0.1 * np.mean(loud)
    with open_batches(audio("builtin:speech"), seed=0, batch_size=4) as batches:
        assert next(batches)["inputs"].shape == (4, 4_000)
    first = contents(cache)
    assert not [name for name in first if name.endswith(".part")]
    monkeypatch.setenv("D2V_CACHE", str(tmp_path / "another"))
    audio("builtin:speech").records()
    assert contents(tmp_path / "another") == first


@needs_espeak
def test_made_once_and_what_went_away_is_made_again(audio, cache, few, monkeypatch):
    source = audio("builtin:speech").records()
    first = contents(cache)
    said = []
    say = espeak.say
    monkeypatch.setattr(espeak, "say", lambda *args: said.append(args[1][0].voice) or say(*args))
    assert audio("builtin:speech").records().fingerprint == source.fingerprint and not said
    (folder,) = cache.iterdir()
    next((folder / "en-us+f2").glob("*.flac")).unlink()
    audio("builtin:speech").records()
    assert said == ["en-us+f2"] and contents(cache) == first
    (folder / "speech.tsv").unlink()  # interrupted: two voices are done, the third half
    (folder / "made" / "en+m1.json").write_text("[[")
    audio("builtin:speech").records()
    assert said == ["en-us+f2", "en+m1"] and contents(cache) == first


PROGRAM = """
from d2v_jax.data.builtin import speech
speech.VOICES, speech.EACH = ("en+m1", "en-us+f2", "en-029+m3"), 4
print(len(speech.open_speech()))
"""


@needs_espeak
def test_two_processes_at_once_and_one_killed(cache, few):
    start = lambda: subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE)
    killed = start()
    while killed.poll() is None and not list(cache.glob("*/made/*.json")):
        time.sleep(0.005)
    killed.kill()
    killed.communicate()
    both = [start(), start()]
    counts = {int(process.communicate()[0]) for process in both}
    assert counts == {len(speech.open_speech())} and all(not one.returncode for one in both)


@needs_espeak
def test_a_fresh_process_repeats_itself():
    found = espeak.find()
    first, again, alone = (espeak.say(found, [LINE] * count) for count in (2, 2, 1))
    for one, other in zip(first, again):
        assert one.rate >= 16_000 and np.array_equal(one.wave_s, other.wave_s)
        assert one.phones == other.phones
    assert np.array_equal(first[0].wave_s, alone[0].wave_s)
    faster = espeak.say(espeak.find(), [espeak.Line("en-us+m3", 210, 40, 50, LINE.text)])
    assert len(faster[0].wave_s) < 0.9 * len(first[0].wave_s)
    names, begins = zip(*first[0].phones)
    assert list(begins) == sorted(begins) and 0 <= begins[0] and begins[-1] <= len(first[0].wave_s)
    heard = " ".join(name.lstrip("',") for name in names)
    assert heard.startswith("r I") and " n eI m " in heard  # "Return the name"


@needs_espeak
def test_espeak_that_fails():
    with pytest.raises(UserError, match=r"failed: .*no voice 'xx-yy'.*builtin:tones"):
        espeak.say(espeak.find(), [espeak.Line("xx-yy", 160, 40, 50, "Hello.")])
    found = espeak.find()
    with pytest.raises(UserError, match="finds no data in /nowhere"):
        espeak.say(espeak.Espeak(found.library, "/nowhere", "1"), [LINE])


@needs_espeak
def test_a_cache_that_cannot_be_written(audio, few, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("D2V_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"cannot write .*file.*set D2V_CACHE"):
        audio("builtin:speech").records()


def test_without_espeak(audio, cache, monkeypatch):
    monkeypatch.setattr(espeak, "NAMES", ("libnone.so",))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        UserError, match=r"apt install espeak-ng, brew install espeak-ng, or pip install 'd2v_jax\["
    ):
        audio("builtin:speech").records()


def test_what_is_said():
    script = speech._script()
    assert tuple(script) == speech.VOICES and len(script) == 32
    lines = [line for lines in script.values() for line in lines]
    assert len(lines) == 2_048 and len({line.text for line in lines}) > 1_900
    assert lines == [line for lines in speech._script().values() for line in lines]
    words = " ".join(line.text for line in lines).translate(str.maketrans("", "", ".,;:'-"))
    assert len(words.split()) > 20_000 and words.replace(" ", "").isalpha()
    assert {line.speed for line in lines} <= set(range(130, 211))
