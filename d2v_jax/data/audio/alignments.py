"""When what is said: labels of frames, and files of times beside recordings, as TIMIT has them.

`NAME.phn` and `NAME.wrd` beside `NAME.wav`, in lines `FIRST LAST LABEL`; times count samples of the
recording at its own rate, LAST is one past the end.
"""

import pathlib

from d2v_jax.common.checks import UserError
from d2v_jax.data.audio.sound_files import RATE, header

Span = tuple[int | str, int, int]  # a label, its first sample at 16 kHz, one past its last
SUFFIXES = {"word": (".wrd", ".WRD"), "phone": (".phn", ".PHN")}


def beside(recording: pathlib.Path) -> dict[str, list[Span]]:
    """The words and phones of a recording, of which files tell; {} where there are none.

    Raises `UserError`, with file and line, for what is no such file.
    """
    found = {}
    for name, suffixes in SUFFIXES.items():
        for suffix in suffixes:
            path = recording.with_suffix(suffix)
            if path.is_file():
                found[name] = _spans(path, header(recording)[1])
                break
    return found


def _spans(path: pathlib.Path, rate: int) -> list[Span]:
    spans: list[Span] = []
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {error}; it must be UTF-8 text") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        words = line.split(maxsplit=2)
        times = [int(word) for word in words[:2] if word.isdecimal()]
        if len(words) != 3 or len(times) != 2 or times[0] > times[1]:
            raise UserError(
                f"{path} line {number}: {line[:80]!r} is not FIRST LAST LABEL, with times in "
                "samples. Correct it, or move the file away"
            )
        spans.append((words[2].strip(), *(time * RATE // rate for time in times)))
    return spans


def of_crop(start: int, samples: int, rate: float, labels: int) -> tuple[int, int]:
    """-> (first label, number of labels) of a crop of `samples` from `start` on.

    `rate` labels a second, of which the recording has so many; a crop's can run out at its end.
    Halves are rounded to even, and the start is not moved to where a label begins, as in HuBERT.
    """
    first = round(start * rate / RATE)
    return first, max(0, min(round(samples * rate / RATE), labels - first))
