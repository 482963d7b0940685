"""builtin:tones: the same utterances everywhere, quickly, with something to learn in them."""

import pickle
import time

import numpy as np
import pytest

from d2v_jax.common.checks import UserError
from d2v_jax.data.builtin.tones import UTTERANCES, VOICES, WORDS, Tones


@pytest.fixture(scope="module")
def tones() -> Tones:
    return Tones()


def test_an_utterance_is_a_function_of_its_number(tones):
    copy = pickle.loads(pickle.dumps(tones))
    for index in (0, 7, UTTERANCES - 1):
        one, other = tones.read(index), copy.read(index)
        assert one.data.dtype == np.int16 and np.array_equal(one.data, other.data)
        assert (one.label, one.name) == (other.label, other.name)
        assert len(one.data) == tones.lengths[index]
    assert not np.array_equal(tones.read(0).data[:16_000], tones.read(7).data[:16_000])


def test_lengths_voices_and_words(tones):
    assert len(tones) == 2000 and len(tones.class_names) == VOICES
    assert tones.lengths.min() >= 16_000 and tones.lengths.max() <= 64_000
    assert tones.lengths.std() > 10_000
    scripts = [tones.script(index) for index in range(UTTERANCES)]
    assert np.bincount([s.voice for s in scripts], minlength=VOICES).min() > 80
    words = np.bincount([word for s in scripts for word, *_ in s.words], minlength=WORDS)
    assert len(words) == WORDS and words.min() > 50
    for script in scripts:
        places = [place for _, *span in script.words for place in span]
        assert places == sorted(places) and 0 < places[0] and places[-1] <= script.samples


def test_waves_are_loud_where_words_are(tones):
    for index in range(20):
        wave_s, script = tones.read(index).data.astype(float), tones.script(index)
        assert np.isfinite(wave_s).all() and 500 < np.abs(wave_s).max() < 32767
        inside = np.zeros(len(wave_s), bool)
        for _, begin, end in script.words:
            inside[begin:end] = True
        assert wave_s[inside].std() > 3 * wave_s[: script.words[0][1] - 200].std()


def test_words_sound_alike_and_differ(tones):
    """The mean spectrum of a word in one voice is nearer to itself elsewhere than to others."""
    spectra: dict[int, list[np.ndarray]] = {}
    for index in range(400):
        script = tones.script(index)
        if script.voice >= 4:
            continue
        wave_s = tones.read(index).data.astype(float)
        for word, begin, end in script.words:
            power = np.abs(np.fft.rfft(wave_s[begin:end], 16_384)) ** 2
            bands = np.log(power[:8192].reshape(64, 128).sum(1) + 1e-9)
            spectra.setdefault(word, []).append(bands - bands.mean())
    means = {word: np.mean(found[1:], 0) for word, found in spectra.items() if len(found) > 2}
    hits = [
        word == min(means, key=lambda other: np.square(means[other] - spectra[word][0]).sum())
        for word in means
    ]
    assert len(means) > 40 and np.mean(hits) > 0.2  # by chance 0.02


def test_pulses_are_harmonics_of_the_pitch(tones):
    from d2v_jax.data.builtin.tones import _pulses

    pulses_s = _pulses(np.full(16_000, 200.0, np.float32))
    power = np.abs(np.fft.rfft(pulses_s)) ** 2
    assert power[::200].sum() > 0.999 * power.sum()
    assert np.isclose(np.mean(pulses_s**2), 1, rtol=0.01)


def test_generation_is_fast(tones):
    best = min(_seconds(tones, index) / tones.lengths[index] for index in range(30))
    assert best * 32_000 < 0.02  # 4 ms on a quiet core


def _seconds(tones: Tones, index: int) -> float:
    began = time.perf_counter()
    tones.read(index)
    return time.perf_counter() - began


def test_eligible_utterances(audio):
    source = audio("builtin:tones", samples=48_000).records()
    assert 400 < len(source) < 900
    assert all(len(source.read(index).data) >= 48_000 for index in range(0, len(source), 50))
    with pytest.raises(UserError, match=r"data\.samples=320000.*longest of 2000 has 6\d{4}"):
        audio("builtin:tones", samples=320_000).records()
