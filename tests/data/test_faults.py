"""Folders in which 3 % of the files are broken, each in its own way, train to the end."""

import pathlib

import numpy as np
from pictures import encoded as picture
from pictures import jpeg, ramp
from PIL import Image
from sounds import encoded as sound
from sounds import tone, wav

from d2v_jax.cli import main
from d2v_jax.data.loader import open_batches
from d2v_jax.data.quarantine import read

FILES = 400


def png(**options) -> bytes:
    return picture(Image.fromarray(ramp()), "png", **options)


def with_bytes(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


PICTURES = {
    "empty": b"",
    "cut": jpeg()[:-200],
    "header only": jpeg()[:30],
    "text": b"some text\n" * 50,
    "a web page": b"<!DOCTYPE html><html><body>404</body></html>",
    "another format": picture(Image.fromarray(ramp()), "pcx"),
    "zeros": bytes(4000),
    "a cut png": png()[:-60],
    "a damaged png": with_bytes(png(), 50, b"\0" * 20),
    "no pixels": with_bytes(png(), 16, bytes(8)),  # width and height
    "too many pixels": with_bytes(png(), 16, b"\0\1\0\0\0\1\0\0"),
    "a dangling link": None,
}
SOUNDS = {
    "empty": b"",
    "text": b"some text\n" * 50,
    "cut wav": wav(tone(8000))[:-4000],
    "header only": wav(tone(8000))[:44],
    "cut flac": sound(tone(8000), "FLAC")[:-2000],
    "NaN": wav(np.where(np.arange(8000) == 4000, np.nan, tone(8000)), subtype="FLOAT"),
    "infinity": wav(np.where(np.arange(8000) == 10, np.inf, tone(8000)), subtype="FLOAT"),
    "too short": wav(tone(1000)),
    "no rate": with_bytes(wav(tone(8000)), 24, bytes(4)),
    "zeros": bytes(4000),
    "a picture": jpeg(),
    "a dangling link": None,
}


def broken(folder: pathlib.Path, whole, ways: dict, suffix: str) -> list[str]:
    """Fills `folder`; returns the names of what is broken."""
    names = []
    places = dict(zip(range(7, FILES, FILES // len(ways)), ways.values()))
    for number in range(FILES):
        path = folder / f"{number % 7}" / f"{number:03d}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        if number in places:
            names.append(str(path.relative_to(folder)))
        data = places.get(number, whole)
        if data is None:
            path.symlink_to("nowhere")
        else:
            path.write_bytes(data)
    assert len(names) == len(ways) == 0.03 * FILES
    return sorted(names)


def test_a_run_on_pictures_names_what_is_broken(tmp_path):
    names = broken(tmp_path / "x", jpeg(), PICTURES, ".jpg")
    workdir = tmp_path / "run"
    argv = [
        "pretrain",
        "--config",
        "quickstart_image:smoke",
        "--workdir",
        str(workdir),
        f"--config.data.source={tmp_path / 'x'}",
        "--config.train.batch_size=16",
    ]
    assert main.main(argv) == 0  # 480 examples of 400
    faults = read(workdir / "quarantine.jsonl")
    assert sorted(fault["name"] for fault in faults) == names
    assert all(fault["reason"] for fault in faults)


def test_sounds_that_are_broken_are_named(audio, tmp_path):
    names = broken(tmp_path, wav(tone(8000)), SOUNDS, ".wav")
    told = {}
    with open_batches(audio(tmp_path), seed=0, batch_size=16, on_fault=told.__setitem__) as batches:
        for _ in range(25):
            batch = next(batches)
            assert np.isfinite(batch["scale"]).all()
        assert told == batches.faults
    assert sorted(told) == names
    assert "1000 samples, fewer than 4000" in set(told.values())
