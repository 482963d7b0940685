"""`d2v data prepare`: the records of the source, whatever happened on the way."""

import functools
import io
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from pictures import encoded, jpeg, ramp
from PIL import Image
from sounds import encoded as sound
from sounds import tone, wav

from d2v_jax.cli.main import main
from d2v_jax.common.checks import UserError
from d2v_jax.data.audio.waves import decode, random_crop, utterance
from d2v_jax.data.image import pictures
from d2v_jax.data.loader import open_batches
from d2v_jax.data.prepare import examples, processes, shard, write_shards
from d2v_jax.data.records import BadRecord, Record


@pytest.fixture
def small(monkeypatch):
    """Shards of 4 kB."""
    monkeypatch.setattr(write_shards, "MEGABYTE", 4096)


def made(source, out, *options: str) -> dict:
    """prepared.json of the folder that the command makes."""
    assert main(["data", "prepare", str(source), str(out), "--shard-mb", "1", *options]) == 0
    return json.loads((out / "prepared.json").read_text())


def test_images(config, folder, tmp_path, small, capsys):
    (folder / "cats" / "10.png").write_bytes(encoded(Image.fromarray(ramp()), "png"))
    (folder / "cats" / "11.jpg").write_bytes(jpeg()[:300])
    (folder / "dogs" / "12.jpg").write_bytes(b"none")
    index = made(folder, tmp_path / "out", "--config.data.max_bad_share=0.1")
    assert "20 records in" in (said := capsys.readouterr().out) and "2 left out" in said
    assert f"\nuse it with --config.data.source={tmp_path / 'out'}\n" in said
    assert len(index["shards"]) > 3 and index["records"] == 20 and index["modality"] == "image"
    assert sum(shard["records"] for shard in index["shards"]) == 20
    plain, prepared = config(folder).records(), config(tmp_path / "out").records()
    assert prepared.class_names == plain.class_names
    assert index["source_fingerprint"] == plain.fingerprint
    bad = {"cats/11.jpg": "damaged picture: Truncated", "dogs/12.jpg": "not a picture"}
    assert index["faults"].keys() == bad.keys()
    assert all(bad[name] in reason for name, reason in index["faults"].items())
    good = [number for number in range(len(plain)) if plain.name(number) not in bad]
    assert [plain.read(number) for number in good] == [prepared.read(n) for n in range(20)]
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert files == {"prepared.json", *(shard["file"] for shard in index["shards"])}


def test_batches_are_the_same(config, folder, tmp_path, small):
    made(folder, tmp_path / "out", "--workers", "1")
    same_batches(config(folder), config(tmp_path / "out"))


def same_batches(plain, prepared) -> None:
    with (
        open_batches(plain, seed=3, batch_size=4) as one,
        open_batches(prepared, seed=3, batch_size=4) as two,
    ):
        for _ in range(8):
            a, b = next(one), next(two)
            assert a.keys() == b.keys() and all(np.array_equal(a[key], b[key]) for key in a)


@pytest.fixture
def recordings(tmp_path) -> pathlib.Path:
    """A manifest, with words, of files of which only the first two are stored as they are."""
    waves = {
        "a.wav": wav(tone(8_000)),
        "b.flac": sound(tone(9_000), "FLAC", subtype="PCM_16"),
        "c.wav": wav(tone(7_001), rate=16_000, subtype="FLOAT"),
        "d.wav": wav(2.5 * tone(7_002), subtype="FLOAT"),
        "e.ogg": sound(tone(7_003), "OGG"),
        "f.wav": wav(np.stack([tone(8_005), tone(8_005, 300)], 1)),
        "g.flac": sound(tone(8_006), "FLAC", subtype="PCM_24"),
        "h.wav": sound(tone(3_000), "WAV", subtype="PCM_16"),
    }
    root = tmp_path / "recordings"
    rows = [str(root)]
    for name, data in waves.items():
        path = root / ("ann" if name < "d" else "bob") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        samples = 3_000 if name == "h.wav" else len(decode(data))
        rows.append(f"{path.relative_to(root)}\t{samples}")
    (tmp_path / "train.tsv").write_text("\n".join(rows))
    (tmp_path / "train.wrd").write_text("".join(f"wörd {name}\n" for name in waves))
    return tmp_path / "train.tsv"


def test_sounds(audio, recordings, tmp_path, small):
    index = made(recordings, tmp_path / "out")
    assert len(index["shards"]) > 3 and index["records"] == 8
    plain, prepared = audio(recordings).records(), audio(tmp_path / "out").records()
    assert len(plain) == len(prepared) == 7  # one is too short here, but was written
    assert plain.lengths.tolist() == prepared.lengths.tolist()
    assert plain.class_names == prepared.class_names == ("ann", "bob")
    for number in range(7):
        one, two = plain.read(number), prepared.read(number)
        assert (one.label, one.name, one.text) == (two.label, two.name, two.text)
        assert (one.data == two.data) == (number < 2)
        assert two.data.startswith((b"RIFF",) if number == 0 else (b"fLaC",))
        whole = utterance(decode(one.data))
        assert np.array_equal(decode(two.data), whole.samples)
        assert two.standard[:2] == (whole.offset, whole.scale)
    assert 1 / prepared.read(3).standard[1] != pytest.approx(32_768 * (2.5 * tone(7_002)).std())
    same_batches(audio(recordings), audio(tmp_path / "out"))


def test_sounds_of_another_rate(audio, tmp_path):
    (tmp_path / "in").mkdir()
    for name, rate in (("a", 44_100), ("b", 8_000)):
        (tmp_path / "in" / f"{name}.wav").write_bytes(wav(tone(rate), rate))
    (tmp_path / "in" / "c.wav").write_bytes(wav(tone(9_000))[:9_000])
    made(tmp_path / "in", tmp_path / "out", "--workers", "1", "--config.data.max_bad_share=0.4")
    plain, prepared = audio(tmp_path / "in").records(), audio(tmp_path / "out").records()
    assert (len(plain), len(prepared)) == (3, 2)
    for number in range(2):
        one, two = (
            random_crop(source.read(number), np.random.default_rng(number), 4_000)
            for source in (plain, prepared)
        )
        assert all(np.array_equal(one[key], two[key]) for key in one)


def test_texts(text, texts, tmp_path, capsys):
    index = made(texts, tmp_path / "out", "--config.data.tokenizer=bytes")
    assert f", {index['tokens']} tokens, in 1 shard of " in capsys.readouterr().out
    plain, prepared = text(texts).records(), text(tmp_path / "out").records()
    assert len(plain) == len(prepared)
    assert all(np.array_equal(plain.read(n).data, prepared.read(n).data) for n in range(len(plain)))


def test_labels_texts_and_arrays_are_stored():
    pixels = ramp()
    for channels, array in ((3, pixels), (1, pixels[:, :, 0])):
        data, samples = examples.picture_example(Record(array, None, "x"), None, 10**6)
        assert b"PNG" in data and samples == 0
        whole = pictures.decode(examples._picture(array, None, 10**6), channels)
        assert np.array_equal(np.asarray(whole), array)
    wave_s = (tone(5_000) * 20_000).astype(np.int16)
    data, samples = examples.sound_example(Record(wave_s, 0, "x"))
    assert samples == 5_000 and b"fLaC" in data


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_larger_pictures_are_shrunk(tmp_path, config, mode):
    root = tmp_path / "in"
    root.mkdir()
    large = Image.fromarray(ramp(600, 400)).convert(mode)
    # An orientation is not applied, as it is not when the file itself is read.
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0"
    (root / "a.jpg").write_bytes(encoded(large, "jpeg", exif=exif))
    (root / "b.png").write_bytes(encoded(large, "png"))
    (root / "c.jpg").write_bytes(encoded(large.resize((150, 30)), "jpeg"))
    made(root, tmp_path / "out", "--max-side", "150", "--workers", "1")
    source = config(tmp_path / "out").records()
    for number in range(2):
        picture = Image.open(io.BytesIO(source.read(number).data))
        assert (picture.format, picture.size, picture.mode) == ("JPEG", (150, 100), mode)
        expected = np.asarray(large.resize((150, 100), Image.Resampling.BICUBIC)).astype(int)
        assert np.abs(np.asarray(picture) - expected).mean() < 1.5
    assert source.read(2).data == (root / "c.jpg").read_bytes()


@pytest.fixture
def interrupted(folder, tmp_path, small, monkeypatch) -> pathlib.Path:
    """A folder with all shards, but not finished."""

    def stop(*args):
        raise UserError("stopped")

    with monkeypatch.context() as patch:
        patch.setattr(write_shards, "finish", stop)
        arguments = [str(folder), str(tmp_path / "out"), "--shard-mb", "1"]
        assert main(["data", "prepare", *arguments]) == 2
    return tmp_path / "out"


def shards(out: pathlib.Path) -> dict[str, tuple[bytes, int]]:
    return {
        path.name: (path.read_bytes(), path.stat().st_mtime_ns)
        for path in out.glob("prepared-*.array_record")
    }


@pytest.mark.parametrize("workers", ["1", "2", "3"])
def test_only_what_is_damaged_is_done_again(folder, tmp_path, interrupted, caplog, workers):
    before = shards(interrupted)
    assert len(before) > 4
    name = "prepared-{:05d}"
    first, second, third, fourth = (
        interrupted / f"{name.format(n)}.array_record" for n in range(4)
    )
    first.write_bytes(first.read_bytes()[:-5] + b"xxxxx")
    second.unlink()
    (interrupted / f"{name.format(2)}.npy").write_bytes(b"")
    (interrupted / f"{name.format(3)}.json").unlink()  # as if it had been stopped before
    index = made(folder, interrupted, "--workers", workers)
    after = shards(interrupted)
    assert {name: data for name, (data, _) in after.items()} == {
        name: data for name, (data, _) in before.items()
    }
    again = {path.name for path in (first, second, third, fourth)}
    assert {name for name in after if after[name][1] != before[name][1]} == again
    assert sum("damaged and written again" in line for line in caplog.messages) == 3
    straight = made(folder, tmp_path / "straight", "--workers", workers)
    assert straight == index


@pytest.mark.parametrize("change", ["source", "option", "modality"])
def test_a_folder_is_about_one_thing(folder, interrupted, capsys, change):
    options = []
    if change == "source":
        (folder / "dogs" / "more.jpg").write_bytes(jpeg(30))
    elif change == "option":
        options = ["--max-side", "20"]
    else:
        (folder / "x.txt").write_text("text")
        options = ["--modality", "text", "--config.data.tokenizer=bytes"]
    arguments = [str(folder), str(interrupted), "--shard-mb", "1", *options]
    assert main(["data", "prepare", *arguments]) == 2
    named = {"source": "source_fingerprint=", "option": "max_side=None, and now it is 20"}
    said = capsys.readouterr().err
    assert "was begun with " + named.get(change, "") in said and "give a new folder" in said


def test_other_folders_are_left_alone(folder, tmp_path, small, capsys):
    def refused(message: str, *arguments: str) -> None:
        assert main(["data", "prepare", *arguments]) == 2
        assert message in capsys.readouterr().err

    out = tmp_path / "out"
    refused("not empty; give a new folder", str(folder), str(folder))
    (tmp_path / "file").write_text("")
    refused("not empty; give a new folder", str(folder), str(tmp_path / "file"))
    made(folder, out)
    refused("complete already", str(folder), str(out))
    refused("prepare each into a folder of its own", f"{folder} + {folder}", str(out))
    for arguments in (["builtin:tones"], ["builtin:python-docs", "--config.data.tokenizer=bytes"]):
        refused("--max-side 9: ", *arguments, str(out), "--max-side", "9")
    assert not (tmp_path / "new").exists()


def test_too_many_faults(folder, tmp_path, small, capsys):
    for number in range(4):
        (folder / "cats" / f"{number:02d}.jpg").write_bytes(b"x")
    out = tmp_path / "out"
    assert main(["data", "prepare", str(folder), str(out), "--shard-mb", "1"]) == 2
    assert "4 of 20 records are unreadable (20.0%)" in (said := capsys.readouterr().err)
    assert f"{out} is not complete" in said and not (out / "prepared.json").exists()
    before = shards(out)
    index = made(folder, out, "--config.data.max_bad_share=0.5")
    assert index["records"] == 16 and shards(out) == before
    for path in folder.glob("*/*.jpg"):
        path.write_bytes(b"x")
    everything = ["--config.data.max_bad_share=1.0"]
    assert main(["data", "prepare", str(folder), str(tmp_path / "none"), *everything]) == 2
    assert "20 of 20 records are unreadable" in capsys.readouterr().err


def test_a_shard_that_does_not_read_back(config, folder, tmp_path, monkeypatch):
    out = tmp_path / "out"
    out.mkdir()
    source = config(folder).records()
    store = functools.partial(examples.picture_example, max_side=None, most=10**6)
    writer = shard.ShardWriter(source, store, out, (3, 20))
    done, state = writer(0, lambda count: None)
    assert (done["records"], state) == (3, "new")
    digest = shard._digest
    monkeypatch.setattr(shard, "_digest", lambda data: digest(data[:-1] + os.urandom(8)))
    with pytest.raises(UserError, match="does not read back as it was written: check the disk"):
        writer(1, lambda count: None)
    assert not (out / shard.SHARD.format(1)).exists()


KILLED = """
import sys
from d2v_jax.cli.main import main
from d2v_jax.data.prepare import write_shards
write_shards.MEGABYTE, write_shards.SAMPLED = 4096, 1
if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
"""


PATIENCE_S = 1800  # only a hang takes it, on however slow a machine


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_killed_in_the_middle(folder, tmp_path, small, monkeypatch, number):
    """A pipe nobody writes to stops a worker at its record."""
    stops = folder / "dogs" / "19.jpg"
    stops.unlink()
    os.mkfifo(stops)
    out, script = tmp_path / "out", tmp_path / "script.py"
    script.write_text(KILLED)
    arguments = ["data", "prepare", str(folder), str(out), "--shard-mb", "1"]
    process = subprocess.Popen([sys.executable, script, *arguments], stderr=subprocess.PIPE)
    begun = time.monotonic()
    while not (out / "prepared-00002.json").exists():
        assert time.monotonic() - begun < PATIENCE_S and process.poll() is None
        time.sleep(0.02)
    children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(children) >= 2  # workers, and Python's resource tracker
    process.send_signal(number)
    _, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == (-9 if number == signal.SIGKILL else 130)
    if number == signal.SIGINT:
        assert b"interrupted" in said and b"Traceback" not in said
    begun = time.monotonic()
    while any(alive(pid) for pid in children):  # though one waits for the pipe
        assert time.monotonic() - begun < PATIENCE_S
        time.sleep(0.02)
    assert not (out / "prepared.json").exists()
    stops.unlink()
    stops.symlink_to(tmp_path / "nowhere")  # as large as the pipe was: nothing
    # One that was written but not yet told of in its json is written again.
    before = {name: seen for name, seen in shards(out).items() if told_of(out, name)}
    assert "prepared-00002.array_record" in before
    monkeypatch.setattr(write_shards, "SAMPLED", 1)
    index = made(folder, out)
    assert index["records"] == 19 and list(index["faults"]) == ["dogs/19.jpg"]
    assert before.items() <= shards(out).items()


def told_of(out: pathlib.Path, name: str) -> bool:
    return (out / name).with_suffix(".json").exists()


def alive(pid: str) -> bool:
    try:
        return ") Z " not in pathlib.Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def doubled(number: int, told) -> int:
    told(1)
    return 2 * number


def dies(number: int, told) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def fails(number: int, told) -> int:
    raise (BadRecord("reason", "name") if number == 1 else ZeroDivisionError("own bug"))


def test_work_is_spread():
    said = list(processes.in_processes(doubled, range(5), 2))
    assert sorted(one for one in said if isinstance(one, tuple)) == [(n, 2 * n) for n in range(5)]
    assert sum(one for one in said if isinstance(one, int)) == 5
    assert list(processes.in_processes(doubled, [], 2)) == []


def test_what_workers_raise_is_raised():
    with pytest.raises(UserError, match=r"ended by signal 9 \(SIGKILL\); .* fewer --workers"):
        list(processes.in_processes(dies, [3], 1))
    with pytest.raises(BadRecord, match="reason") as bad:
        list(processes.in_processes(fails, [1], 1))
    assert bad.value.name == "name"
    with pytest.raises(ZeroDivisionError, match="own bug") as error:
        list(processes.in_processes(fails, [0], 1))
    assert "in fails" in error.value.__notes__[0]
