"""A program of its own that lets espeak-ng speak, for espeak.py; imports nothing of this package.

espeak-ng carries state from one utterance to the next (noise, tremble), so what it says depends on
all that it has said before: in a fresh process, with its random numbers seeded, it is repeatable.

    python speak.py LIBRARY DATA < JSON list of [voice, words per minute, pitch, range, text]

writes, for each, its number of samples, its sample rate and a number of bytes as uint32, the
samples as int16, and in so many bytes a JSON list of its phones, [name, first sample];

    python speak.py < JSON list of libraries

writes the number of the first that can be loaded and its version, or why none can, as JSON.
"""

import ctypes
import json
import struct
import sys
from collections.abc import Sequence

SYNCHRONOUS = 2  # AUDIO_OUTPUT_SYNCHRONOUS
PHONES, NO_EXIT = 0x1, 0x8000  # espeakINITIALIZE_PHONEME_EVENTS, espeakINITIALIZE_DONT_EXIT
LAST, PHONE = 0, 7  # types of espeak_EVENT
CHARACTERS, UTF8 = 1, 1  # POS_CHARACTER, espeakCHARS_UTF8
RATE, PITCH, RANGE = 1, 3, 4  # of espeak_PARAMETER
SEED = 1


class Event(ctypes.Structure):
    """espeak_EVENT; of a phone `name` is what it is called."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("milliseconds", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user", ctypes.c_void_p),
        ("name", ctypes.c_char * 8),
    )


CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(Event))


def main(library: str, data: str) -> None:
    espeak = ctypes.CDLL(library)
    rate = espeak.espeak_Initialize(SYNCHRONOUS, 0, data.encode() or None, NO_EXIT | PHONES)
    if rate <= 0:
        sys.exit(f"espeak-ng cannot be started: it finds no data in {data or 'its usual folder'}")
    pieces: list[bytes] = []
    phones: list[tuple[str, int]] = []

    def keep(wave: int | None, samples: int, events: Sequence[Event]) -> int:
        if wave and samples > 0:
            pieces.append(ctypes.string_at(wave, 2 * samples))
        number = 0
        while events[number].type != LAST:
            if events[number].type == PHONE:
                name = events[number].name.decode(errors="replace")
                phones.append((name, events[number].sample))
            number += 1
        return 0

    callback = CALLBACK(keep)
    espeak.espeak_SetSynthCallback(callback)
    _seed(espeak)
    for voice, speed, pitch, spread, text in json.load(sys.stdin):
        if espeak.espeak_SetVoiceByName(voice.encode()):
            sys.exit(f"espeak-ng has no voice {voice!r}; its data are incomplete")
        for parameter, value in ((RATE, speed), (PITCH, pitch), (RANGE, spread)):
            espeak.espeak_SetParameter(parameter, value, 0)
        said = text.encode() + b"\0"
        size = ctypes.c_size_t(len(said))
        if espeak.espeak_Synth(said, size, 0, CHARACTERS, 0, UTF8, None, None):
            sys.exit(f"espeak-ng cannot say {text!r}")
        espeak.espeak_Synchronize()
        samples = b"".join(pieces)
        told = json.dumps(phones).encode()
        pieces.clear()
        phones.clear()
        sizes = struct.pack("=III", len(samples) // 2, rate, len(told))
        sys.stdout.buffer.write(sizes + samples + told)


def first_of(libraries: list[str]) -> tuple[int, str]:
    problem = ""
    for number, library in enumerate(libraries):
        try:
            info = ctypes.CDLL(library).espeak_Info
        except (OSError, AttributeError) as error:
            problem = str(error)
            continue
        info.restype, info.argtypes = ctypes.c_char_p, [ctypes.c_void_p]
        return number, info(None).decode().split()[0]
    return -1, problem


def _seed(espeak: ctypes.CDLL) -> None:
    """espeak_Initialize seeds them with the time."""
    ctypes.CDLL(None).srand(SEED)
    if hasattr(espeak, "espeak_ng_SetRandSeed"):  # since 1.50; its random numbers are its own
        espeak.espeak_ng_SetRandSeed(ctypes.c_long(SEED))


if __name__ == "__main__":
    if sys.argv[1:]:
        main(*sys.argv[1:])
    else:
        json.dump(first_of(json.load(sys.stdin)), sys.stdout)
