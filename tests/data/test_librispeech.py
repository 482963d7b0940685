"""LibriSpeech's own tree is recognised: speakers are classes, transcripts are read."""

import logging
import pathlib

import pytest
from sounds import encoded, tone

from d2v_jax.data.audio.lists.librispeech import speakers

UTTERANCES = {
    "train-clean-100/103/1240": ("CHAPTER ONE", "MISSUS RACHEL LYNDE IS SURPRISED"),
    "train-clean-100/1034/121119": ("THE SWITCH TOWER",),
    "dev-other/84/121123": ("GO DO YOU HEAR", "BUT IN LESS THAN FIVE MINUTES"),
}


@pytest.fixture
def tree(tmp_path: pathlib.Path) -> pathlib.Path:
    root = tmp_path / "LibriSpeech"
    for chapter, texts in UTTERANCES.items():
        (root / chapter).mkdir(parents=True)
        name = "-".join(chapter.split("/")[1:])
        for number in range(len(texts)):
            data = encoded(tone(5_000 + 100 * number), "FLAC", subtype="PCM_16")
            (root / chapter / f"{name}-{number:04d}.flac").write_bytes(data)
        lines = [f"{name}-{number:04d} {text}\n" for number, text in enumerate(texts)]
        (root / chapter / f"{name}.trans.txt").write_text("".join(lines))
    (root / "SPEAKERS.TXT").write_text("; not sound")
    return root


def texts_of(source) -> list[tuple[str, str | None]]:
    records = [source.read(index) for index in range(len(source))]
    return [(source.class_names[record.label], record.text) for record in records]


def test_speakers_and_transcripts(audio, tree):
    source = audio(tree).records()
    assert source.class_names == ("103", "1034", "84")
    assert texts_of(source) == [
        ("84", "GO DO YOU HEAR"),
        ("84", "BUT IN LESS THAN FIVE MINUTES"),
        ("103", "CHAPTER ONE"),
        ("103", "MISSUS RACHEL LYNDE IS SURPRISED"),
        ("1034", "THE SWITCH TOWER"),
    ]
    assert source.lengths.tolist() == [5000, 5100, 5000, 5100, 5000]


@pytest.mark.parametrize("below", ["train-clean-100", "train-clean-100/103", "dev-other/84/121123"])
def test_any_part_of_the_tree(audio, tree, below: str):
    source = audio(tree / below).records()
    assert all(text for _, text in texts_of(source)) and len(source) in (2, 3)
    assert set(source.class_names) <= {"103", "1034", "84"}


def test_a_missing_transcript(audio, tree, caplog):
    (tree / "dev-other/84/121123/84-121123.trans.txt").write_text("84-121123-0000 GO DO YOU HEAR\n")
    with caplog.at_level(logging.WARNING, "d2v"):
        source = audio(tree).records()
    assert "1 of 5 utterances have no transcript" in caplog.text
    assert texts_of(source)[:2] == [("84", "GO DO YOU HEAR"), ("84", None)]


def test_the_short_are_left_out_with_their_texts(audio, tree):
    source = audio(tree, samples=5_050).records()
    assert [text for _, text in texts_of(source)] == [
        "BUT IN LESS THAN FIVE MINUTES",
        "MISSUS RACHEL LYNDE IS SURPRISED",
    ]


@pytest.mark.parametrize(
    "name", ["a.wav", "x/1-2-3.flac", "9/2/1-2-0003.flac", "1/9/1-2-0003.flac", "1-2.flac"]
)
def test_other_trees(name: str):
    assert speakers(["1/2/1-2-0003.flac"]) == ["1"]
    assert speakers(["1/2/1-2-0003.flac", name]) is None
