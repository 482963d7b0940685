"""builtin:tones: two thousand utterances of an invented language, synthesised when read.

A source-filter synthesiser: a pulse train with a pitch contour, or noise, goes through the
resonances of a phone. Words of a fixed lexicon follow each other with pauses; sixteen voices,
which are the labels, differ in pitch, length of the vocal tract, brightness, breath and tempo.
"""

import dataclasses
import math

import numpy as np

from d2v_jax.data.audio.alignments import Span
from d2v_jax.data.audio.sound_files import RATE
from d2v_jax.data.records import Record, fingerprint_of

VERSION = 1  # raised whenever an utterance sounds different
UTTERANCES = 2_000
VOICES = 16
WORDS = 64
SHORTEST_S, LONGEST_S = 1.0, 4.0
FFT = 4096  # of one filtered segment; holds the longest phone and its decay
DECAY = 512  # samples of a transform that stay free, so that the end does not reach the start
FADE = 160  # samples of fading at each end of a phone
# Formants in Hz, men's averages (Peterson and Barney 1952).
VOWELS = {
    "i": (270, 2290, 3010),
    "e": (530, 1840, 2480),
    "ae": (660, 1720, 2410),
    "a": (730, 1090, 2440),
    "o": (570, 840, 2410),
    "u": (300, 870, 2240),
    "uh": (640, 1190, 2390),
    "er": (490, 1350, 1690),
}
# Formants of the onset, centre and width in Hz of its noise (0: voiced), length of a stop's
# silence in seconds.
CONSONANTS = {
    "m": ((250, 1000, 2200), 0, 0, 0.0),
    "n": ((250, 1600, 2500), 0, 0, 0.0),
    "l": ((360, 1300, 2700), 0, 0, 0.0),
    "w": ((290, 610, 2150), 0, 0, 0.0),
    "s": ((320, 1700, 2600), 5800, 1600, 0.0),
    "sh": ((320, 1900, 2500), 3200, 1200, 0.0),
    "f": ((320, 900, 2300), 4200, 5000, 0.0),
    "p": ((320, 800, 2200), 900, 900, 0.06),
    "t": ((320, 1750, 2600), 4200, 1800, 0.05),
    "k": ((320, 2000, 2300), 2000, 900, 0.05),
}
VOWEL_NAMES, CONSONANT_NAMES = tuple(VOWELS), tuple(CONSONANTS)
UPPER = (3500, 4500)  # Hz, formants that all phones share
BANDWIDTHS = (70, 100, 160, 250, 350)  # Hz


@dataclasses.dataclass(frozen=True)
class Voice:
    pitch: float  # Hz
    tract: float  # factor on every formant
    tilt: float  # power of 1 / frequency in the pulses
    breath: float  # share of noise in vowels
    tempo: float  # factor on durations


@dataclasses.dataclass(frozen=True)
class Script:
    """What is said: `words` holds (word, first sample, one past its last)."""

    samples: int
    voice: int
    words: tuple[tuple[int, int, int], ...]
    phones: tuple[tuple[int, int, int, int, int], ...]  # consonant, vowel, start, onset end, end


class Tones:
    """Record i is the same everywhere and always: int16 [s] at 16 kHz, 1 to 4 s."""

    class_names = tuple(f"voice {number:02d}" for number in range(VOICES))
    fingerprint = fingerprint_of(("builtin:tones", VERSION, UTTERANCES))

    def __init__(self) -> None:
        self.lengths = np.array([_length(index) for index in range(UTTERANCES)], np.int64)
        self._voices = [_voice(number) for number in range(VOICES)]
        self._lexicon = _lexicon()
        self._vowels = np.stack(
            [[_resonances(VOWELS[name], voice) for name in VOWEL_NAMES] for voice in self._voices]
        )  # [voice, vowel, frequency]
        self._onsets = np.stack(
            [
                [_resonances(CONSONANTS[name][0], voice) for name in CONSONANT_NAMES]
                for voice in self._voices
            ]
        )
        self._noises = np.stack([_noise_band(*CONSONANTS[name][1:3]) for name in CONSONANT_NAMES])

    def __len__(self) -> int:
        return UTTERANCES

    def read(self, index: int) -> Record:
        script = self.script(index)
        wave_s = self._speak(script, _generator(index, "sound"))
        return Record(wave_s, script.voice, self.name(index))

    def name(self, index: int) -> str:
        return f"builtin:tones utterance {index}"

    def script(self, index: int) -> Script:
        """What utterance `index` says, and when."""
        rng = _generator(index, "script")
        voice = int(rng.integers(VOICES))
        samples = int(self.lengths[index])
        tempo = self._voices[voice].tempo * rng.uniform(0.85, 1.15)
        at = round(rng.uniform(0.03, 0.15) * RATE)
        words, phones = [], []
        while True:
            word = int(rng.integers(WORDS))
            begun, syllables = at, []
            for consonant, vowel in self._lexicon[word]:
                onset = at + round(rng.uniform(0.05, 0.09) * tempo * RATE)
                end = onset + round(rng.uniform(0.09, 0.17) * tempo * RATE)
                syllables.append((consonant, vowel, at, onset, end))
                at = end
            if at > samples:
                break
            words.append((word, begun, at))
            phones += syllables
            if rng.random() < 0.35:
                at += round(rng.uniform(0.05, 0.25) * RATE)
        return Script(samples, voice, tuple(words), tuple(phones))

    def said(self, index: int) -> dict[str, list[Span]]:
        """Its words by number and its phones by name, with their first samples and ends."""
        script = self.script(index)
        phones: list[Span] = []
        for consonant, vowel, start, onset, end in script.phones:
            phones.append((CONSONANT_NAMES[consonant], start, onset))
            phones.append((VOWEL_NAMES[vowel], onset, end))
        return {"word": list(script.words), "phone": phones}

    def _speak(self, script: Script, rng: np.random.Generator) -> np.ndarray:
        voice = self._voices[script.voice]
        total = script.samples
        noise_s = rng.standard_normal(total, np.float32)
        voiced_s = _pulses(_pitch(script, voice, rng))
        voiced_s += voice.breath * noise_s
        wave_s = np.zeros(total + FFT, np.float32)
        for consonant, vowel, start, onset, end in script.phones:
            loud = rng.uniform(0.6, 1.0)
            onset_filter = self._onsets[script.voice, consonant]
            _, centre, _, closure = CONSONANTS[CONSONANT_NAMES[consonant]]
            if centre:
                begin = min(start + round(closure * RATE), onset - 2 * FADE)
                _add(wave_s, begin, noise_s[begin:onset], self._noises[consonant], 0.5 * loud)
            else:
                _add(wave_s, start, voiced_s[start:onset], onset_filter, 0.5 * loud)
            # The vowel starts from the resonances of its onset and glides to its own.
            glide = min(onset + round(0.05 * RATE), end)
            _add(wave_s, onset - FADE, voiced_s[onset - FADE : glide], onset_filter, 0.6 * loud)
            vowel_filter = self._vowels[script.voice, vowel]
            _add(wave_s, onset, voiced_s[onset:end], vowel_filter, loud)
        wave_s = wave_s[:total]
        wave_s *= rng.uniform(0.05, 0.5) / max(float(np.abs(wave_s).max()), 1e-6)
        wave_s += 10 ** rng.uniform(-4, -2.3) * noise_s[::-1]  # far from where it was used
        return np.rint(np.clip(wave_s, -1, 1) * 32767).astype(np.int16)


def _generator(index: int, of: str) -> np.random.Generator:
    kinds = ("length", "script", "sound", "voice", "lexicon")
    return np.random.Generator(np.random.Philox(key=[index, kinds.index(of)]))


def _length(index: int) -> int:
    return round(_generator(index, "length").uniform(SHORTEST_S, LONGEST_S) * RATE)


def _voice(number: int) -> Voice:
    rng = _generator(number, "voice")
    pitch = 85 * (260 / 85) ** (number / (VOICES - 1))
    tract = 0.88 + 0.3 * number / (VOICES - 1) + rng.uniform(-0.05, 0.05)
    # As Python's floats: NumPy's would turn every float32 wave into float64.
    tilt, breath, tempo = rng.uniform((0.2, 0.02, 0.8), (0.9, 0.25, 1.2)).tolist()
    return Voice(pitch, tract, tilt, breath, tempo)


def _lexicon() -> list[tuple[tuple[int, int], ...]]:
    """Words as sequences of one to three (consonant, vowel), no two the same."""
    rng = _generator(0, "lexicon")
    words: dict[tuple[tuple[int, int], ...], None] = {}
    while len(words) < WORDS:
        syllables = rng.integers((len(CONSONANTS), len(VOWELS)), size=(1 + len(words) % 3, 2))
        words[tuple((int(consonant), int(vowel)) for consonant, vowel in syllables)] = None
    return list(words)


def _resonances(formants: tuple[int, int, int], voice: Voice) -> np.ndarray:
    """Response complex64 [frequency] of resonators, one behind the other, with level 1.

    The tilt of the voice and the radiation from the lips are part of it.
    """
    frequency = np.fft.rfftfreq(FFT, 1 / RATE)
    response = (1 + frequency / 300) ** -voice.tilt * np.sqrt(frequency / 500 + 0.05) + 0j
    for centre, width in zip((*formants, *UPPER), BANDWIDTHS):
        centre = centre * voice.tract
        response *= centre**2 / (centre**2 - frequency**2 + 1j * width * frequency)
    return (response / np.sqrt(np.mean(np.abs(response) ** 2))).astype(np.complex64)


def _noise_band(centre: int, width: int) -> np.ndarray:
    frequency = np.fft.rfftfreq(FFT, 1 / RATE)
    if not centre:
        return np.zeros(len(frequency), np.complex64)
    response = np.exp(-0.5 * ((frequency - centre) / width) ** 2)
    return (response / np.sqrt(np.mean(response**2))).astype(np.complex64)


def _pitch(script: Script, voice: Voice, rng: np.random.Generator) -> np.ndarray:
    """Hz [s]: falls over the utterance, with an accent per word and a slow tremble."""
    at_k = np.arange(0, script.samples + 100, 100)  # knots, with straight lines between them
    fall = -0.25 * at_k / script.samples
    places = [0, *((begin + end) / 2 for _, begin, end in script.words), script.samples]
    accents = np.interp(at_k, places, rng.uniform(-0.15, 0.2, len(places)))
    tremble = 0.01 * np.sin(2 * math.pi * rng.uniform(4, 6) / RATE * at_k)
    pitch_k = voice.pitch * np.exp(fall + accents + tremble)
    return np.interp(np.arange(script.samples), at_k, pitch_k).astype(np.float32)


def _pulses(pitch_s: np.ndarray) -> np.ndarray:
    """A pulse train [s] without frequencies above half the rate, of mean square about 1."""
    phase_s = np.cumsum(pitch_s * np.float32(math.pi / RATE), dtype=np.float64)
    # A sum of equal cosines in closed form; the half phase keeps away from its removable gaps.
    half_s = (np.mod(phase_s, math.pi) + 1e-4).astype(np.float32)
    harmonics = int(0.45 * RATE / float(pitch_s.max()))
    pulses_s = np.sin((2 * harmonics + 1) * half_s) / np.sin(half_s) - 1
    return pulses_s / np.float32(math.sqrt(2 * harmonics))


def _add(
    wave_s: np.ndarray, start: int, part_s: np.ndarray, response: np.ndarray, loud: float
) -> None:
    """Adds `part_s`, faded at both ends and filtered, to `wave_s` from `start` on."""
    part_s = part_s[: FFT - DECAY].copy()
    fade = min(FADE, len(part_s) // 2)
    ramp = np.arange(fade, dtype=np.float32) * np.float32(loud / fade)
    part_s[fade : len(part_s) - fade] *= loud
    part_s[:fade] *= ramp
    part_s[len(part_s) - fade :] *= ramp[::-1]
    step = 2 if len(part_s) <= FFT // 2 - DECAY else 1  # short parts need half the transform
    size = FFT // step
    wave_s[start : start + size] += np.fft.irfft(np.fft.rfft(part_s, size) * response[::step], size)
