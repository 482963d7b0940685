"""Letters of speech from the command line: learnt, evaluated, written down with times."""

import json
import re

import numpy as np
import pytest
from spoken import manifest, recording

from d2v_jax.cli.main import main
from d2v_jax.common.letters import Letters
from d2v_jax.transfer import encoder
from d2v_jax.transfer.answers import recognition, transcribe


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Fine-tuned for four steps; what it has not learnt from."""
    folder = tmp_path_factory.mktemp("speech")
    short = ["--config.train.steps=1", "--config.optimizer.warmup_steps=0"]
    where = ["--workdir", str(folder / "pre")]
    assert main(["pretrain", "--config", "quickstart_audio:smoke", *where, *short]) == 0
    learn, test = manifest(folder / "learn", 12), manifest(folder / "test", 5, first=20)
    words = [
        f"--config.init_from={folder / 'pre'}",
        f"--config.data.source={learn}",
        f"--config.eval.source={test}",
        "--config.data.samples=16000",
        "--config.train.batch_size=16",  # eight devices share 16 and 8
        "--config.data.buckets=(16000, 32000)",
        "--config.train.steps=4",
        "--config.train.checkpoint_every=2",
        "--config.eval.every=2",
        "--config.optimizer.warmup_steps=1",
    ]
    where = ["--workdir", str(folder / "run")]
    assert main(["finetune", "--config", "finetune_asr:smoke", *where, *words]) == 0
    return folder / "run", test


def test_rates_are_recorded_on_the_way(run):
    lines = (run[0] / "metrics.jsonl").read_text().splitlines()
    last = json.loads(lines[-1])
    assert last["eval/wer"] > 0 and last["eval/cer"] > 0 and last["impossible"] == 0


def test_evaluated(run, capsys):
    assert main(["evaluate", "asr", str(run[0])]) == 0
    said = capsys.readouterr().out
    assert "wer" in said and "speaker" in said and "    said   " in said
    (kept,) = (run[0] / "results").glob("asr-*.json")
    one = json.loads(kept.read_text())
    assert one["examples"] == 5 and one["intervals"].keys() == {"wer", "cer"}


@pytest.mark.parametrize("form", ["txt", "jsonl"])
@pytest.mark.parametrize("search", [[], ["--beam", "4"]])
def test_written_down(run, tmp_path, capsys, form, search):
    path, test = run
    out = tmp_path / "said"
    words = [str(path), str(test), "--format", form, "--out", str(out), *search]
    assert main(["transcribe", *words]) == 0
    assert "5 recordings transcribed" in capsys.readouterr().out
    text = out.read_text()
    assert "20.wav" in text
    if form == "jsonl":
        ones = [json.loads(line) for line in text.splitlines()]
        assert len(ones) == 5
        for one in ones:
            times = [t for word in one["words"] for t in (word["start"], word["end"])]
            assert times == sorted(times) and (not times or times[-1] <= 2)


def test_subtitles_are_a_file_for_each_recording(run, tmp_path, capsys):
    path, test = run
    out = tmp_path / "subtitles"
    words = [str(path), str(test), "--format", "srt"]
    assert main(["transcribe", *words, "--out", str(out)]) == 0
    assert "5 recordings transcribed" in capsys.readouterr().out
    made = sorted(str(file.relative_to(out)) for file in out.rglob("*.srt"))
    assert made == ["a/20.srt", "a/22.srt", "a/24.srt", "b/21.srt", "b/23.srt"]
    for file in out.rglob("*.srt"):
        blocks = [block for block in file.read_text().split("\n\n") if block]
        for number, block in enumerate(blocks, 1):
            first, times, _ = block.split("\n", 2)
            assert first == str(number)
            assert re.fullmatch(r"00:00:0\d,\d{3} --> 00:00:0\d,\d{3}", times)
    assert main(["transcribe", *words]) == 2
    assert "give --out FOLDER" in capsys.readouterr().err


def test_folders_files_and_what_cannot_be_read(run, tmp_path, capsys):
    path, test = run
    (test.parent / "broken.wav").write_bytes(b"no sound")
    (test.parent / "short.wav").write_bytes(recording(0, 0.002))
    assert main(["transcribe", str(path), str(test.parent), str(test.parent / "a" / "20.wav")]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 6
    assert main(["transcribe", str(path), str(test.parent / "broken.wav")]) == 2
    assert main(["transcribe", str(path), str(tmp_path / "nothing")]) == 2
    said = capsys.readouterr().err
    assert "could be read" in said and "Traceback" not in said


def test_buckets_and_neighbours_change_nothing(run):
    model = encoder.load(run[0])
    waves = [np.random.default_rng(n).normal(size=14_000 + 3_000 * n) for n in range(4)]
    together = model.logits(waves)
    for wave_s, logits_tc in zip(waves, together):
        np.testing.assert_allclose(model.logits([wave_s])[0], logits_tc, rtol=1e-4, atol=1e-5)


def test_words_have_the_times_of_their_letters():
    letters = Letters(("<s>", "|", "A", "B"))
    frames = [0, 2, 2, 0, 3, 0, 0, 1, 0, 3, 3]
    logits = np.full((len(frames), 4), -8.0)
    logits[np.arange(len(frames)), frames] = 8.0
    words = recognition.Reader(letters).words(logits, 0.02)
    assert [word.text for word in words] == ["AB", "B"]
    np.testing.assert_allclose([words[0].start, words[0].end], [0.02, 0.10])
    np.testing.assert_allclose([words[1].start, words[1].end], [0.18, 0.22])


@pytest.mark.parametrize(
    ("said", "heard", "expected"),
    [
        ("One, two!", "one two", (2, 0, 7, 0)),
        ("a b c", "a x c d", (3, 2, 5, 3)),
        ("", "what", (0, 1, 0, 4)),
    ],
)
def test_errors(said, heard, expected):
    assert recognition.errors(said, heard) == expected


def test_subtitles_stay_in_their_folder_and_apart():
    made = set()
    for name in ("../../a.wav", "/b/a.wav", "a.flac"):
        made.add(transcribe._below(name, made))
    assert set(map(str, made)) == {"a.srt", "b/a.srt", "a.flac.srt"}
