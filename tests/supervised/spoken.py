"""Recordings with transcripts, for the tests beside this one."""

import io
import pathlib
import wave

import numpy as np

RATE = 16_000
SAID = ("ONE TWO", "THREE", "FOUR FIVE SIX", "SEVEN")


def recording(number: int, seconds: float) -> bytes:
    """A tone that falls and rises."""
    time_s = np.arange(int(seconds * RATE)) / RATE
    tone = np.sin(2 * np.pi * (200 + 40 * number + 80 * np.sin(3 * time_s)) * time_s)
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((tone * 8_000).astype("<i2").tobytes())
    return buffer.getvalue()


def manifest(folder: pathlib.Path, count: int, first: int = 0) -> pathlib.Path:
    """Recordings of 1 to 2 seconds of two speakers, and what they say."""
    folder.mkdir(parents=True)
    lines, texts = [str(folder)], []
    for number in range(first, first + count):
        name, seconds = f"{'ab'[number % 2]}/{number}.wav", 1 + number % 4 / 4
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(recording(number, seconds))
        lines.append(f"{name}\t{int(seconds * RATE)}")
        texts.append(SAID[number % 4])
    (folder / "m.tsv").write_text("\n".join(lines) + "\n")
    (folder / "m.wrd").write_text("\n".join(texts) + "\n")
    return folder / "m.tsv"
