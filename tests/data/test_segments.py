"""Kaldi's segments and STM files, as they are and as they get broken."""

import os

import numpy as np
import pytest
from sounds import tone, wav

from d2v_jax.cli.main import main
from d2v_jax.common.checks import UserError
from d2v_jax.data.audio.waves import decode
from d2v_jax.transfer.answers import transcribe

WAVE = wav(tone(48_000))
SCP = {"wav.scp": "rec a.wav\n", "segments": "u1 rec 0.0 1.5\nu2 rec 1.5 3.0\n"}
LISTS = {
    "segments": {**SCP, "text": "u1 HI YOU\nu2 BYE\n", "utt2spk": "u1 ann\nu2 bob\n"},
    "x.stm": {
        "x.stm": ";; a remark\na 1 ann 0.0 1.5 <o,f0,male> HI YOU\n\na 1 bob 1.50 3.00 BYE\n"
    },
}


def written(folder, files):
    (folder / "a.wav").write_bytes(WAVE)
    for name, text in files.items():
        (folder / name).write_text(text)


@pytest.mark.parametrize("kind", LISTS)
def test_parts_with_texts_and_speakers(audio, tmp_path, kind: str, capsys):
    written(tmp_path, LISTS[kind])
    source = audio(tmp_path / kind).records()
    assert source.lengths.tolist() == [24_000, 24_000] and source.class_names == ("ann", "bob")
    records = [source.read(index) for index in range(2)]
    assert [(one.text, one.label) for one in records] == [("HI YOU", 0), ("BYE", 1)]
    np.testing.assert_array_equal(np.concatenate([decode(r.data) for r in records]), decode(WAVE))
    least = "--config.data.min_samples=0"
    command = ["data", "inspect", str(tmp_path / kind), "--modality", "audio", least]
    assert main(command) == 0
    assert "readable              2" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({**SCP, "wav.scp": "rec sox a.wav -t wav - |\n"}, r"wav.scp line 1: .* is a command"),
        ({**SCP, "segments": "u1 other 0 1\n"}, r"segments line 1: .*'other' is not in wav.scp"),
        ({**SCP, "segments": "u1 rec 2 1\n"}, r"line 1: .*do not follow"),
        ({**SCP, "segments": "u1 rec 2\n"}, r"line 1: 'u1 rec 2' is not UTTERANCE"),
        ({**SCP, "segments": "\n"}, "lists no parts"),
        ({"segments": SCP["segments"]}, "wav.scp: cannot be read"),
    ],
)
def test_broken_lists(audio, tmp_path, files, message: str):
    written(tmp_path, files)
    with pytest.raises(UserError, match=message):
        audio(tmp_path / "segments").records()


@pytest.mark.parametrize("kind", LISTS)
def test_recordings_whose_names_are_not_utf8(audio, tmp_path, kind: str):
    raw = os.fsencode(tmp_path)
    for name, text in LISTS[kind].items():
        text = text.replace("a.wav", "caf?.wav").replace("\na 1", "\ncaf? 1").encode()
        (tmp_path / name).write_bytes(text.replace(b"?", b"\xe9"))
    with open(raw + b"/caf\xe9.wav", "wb") as file:
        file.write(WAVE)
    source = audio(tmp_path / kind).records()
    records = [source.read(index) for index in range(2)]
    np.testing.assert_array_equal(np.concatenate([decode(r.data) for r in records]), decode(WAVE))
    assert all(one.name.isascii() and one.text.isascii() for one in records)
    said = tmp_path / ("text" if kind == "segments" else kind)
    said.write_bytes(said.read_bytes().replace(b"YOU", b"Y\xd6"))
    with pytest.raises(UserError, match=r"what is said is not UTF-8"):
        audio(tmp_path / kind).records()


def test_lists_are_transcribed_part_by_part(tmp_path):
    written(tmp_path, LISTS["x.stm"])
    odd = os.fsencode(tmp_path) + b"/caf\xe9.wav"
    os.link(tmp_path / "a.wav", odd)
    names = [str(tmp_path / "x.stm"), os.fsdecode(odd)]
    found = list(transcribe._recordings(names, ((1, 400, 320),)))
    assert [len(wave_s) for _, wave_s in found] == [24_000, 24_000, 48_000]
    assert found[2][0].endswith(r"caf\xe9.wav")
