"""Batch k is a function of source, seed and k; bad records never stop or change the rest."""

import logging
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from pictures import encoded, jpeg, ramp
from PIL import Image
from sounds import tone, wav

from d2v_jax.common.checks import UserError
from d2v_jax.data.image.pictures import augment
from d2v_jax.data.loader import open_batches
from d2v_jax.data.opened import Opened


def take(cfg, count: int, **where) -> list[dict[str, np.ndarray]]:
    with open_batches(cfg, **({"seed": 3, "batch_size": 8} | where)) as batches:
        return [next(batches) for _ in range(count)]


def check_equal(mine: list[dict], theirs: list[dict]) -> None:
    assert len(mine) == len(theirs)
    for one, other in zip(mine, theirs):
        assert one.keys() == other.keys() >= {"inputs", "example_id"}
        for key in one:
            assert np.array_equal(one[key], other[key])


def damage(folder, numbers) -> list[str]:
    """Cuts some of the folder's jpegs short or replaces them with text; returns their names."""
    names = []
    for number in numbers:
        name = f"{'cats' if number < 10 else 'dogs'}/{number:02d}.jpg"
        (folder / name).write_bytes(jpeg(number)[:-300] if number % 2 else b"some text\n" * 9)
        names.append(name)
    return names


def test_batches_are_the_crops_of_their_records(config, folder):
    cfg = config(folder)
    first, second, third = take(cfg, 3)
    assert first["inputs"].shape == (8, 16, 16, 3) and first["inputs"].dtype == np.uint8
    assert first["example_id"].dtype == np.int32
    ids = np.concatenate([first["example_id"], second["example_id"], third["example_id"]])
    assert sorted(ids[:20]) == list(range(20))  # an epoch is a permutation, across batches
    whole = config(folder, crop_scale=(1.0, 1.0), crop_ratio=(1.5, 1.5), flip=0.0)
    source = whole.records()
    for image, index in zip(*take(whole, 1)[0].values()):
        expected = augment(source.read(int(index)), whole, np.random.default_rng(0))
        assert np.array_equal(image, expected)


def test_epochs_and_seeds_differ(config, folder):
    cfg = config(folder)
    one, two = take(cfg, 2, batch_size=20)
    assert not np.array_equal(one["example_id"], two["example_id"])
    of_first = {int(i): image for image, i in zip(*one.values())}
    assert not any(np.array_equal(of_first[int(i)], image) for image, i in zip(*two.values()))
    assert not np.array_equal(take(cfg, 1, seed=4)[0]["example_id"], take(cfg, 1)[0]["example_id"])


@pytest.mark.parametrize("source", ["folder", "builtin:photos", "tfds:toy"])
def test_threads_do_not_matter(config, folder, toy, source):
    source = folder if source == "folder" else source
    expected = take(config(source, threads=0), 6)
    check_equal(take(config(source, threads=4), 6), expected)
    check_equal(take(config(source, threads=1), 6), expected)


@pytest.mark.parametrize("workers", [1, 2])
def test_fast_crops_in_worker_processes(config, folder, workers):
    """Reduced while decoding and jittered, with a fault, and resumed in between."""
    damage(folder, [3])
    big = Image.fromarray(ramp(400, 300))
    for path in sorted(folder.rglob("1*.jpg")):
        path.write_bytes(encoded(big, "jpeg"))
    make = lambda **where: config(folder, resize="fast", jitter=0.4, max_bad_share=0.5, **where)
    whole = take(make(threads=0), 6)
    check_equal(take(make(threads=2), 6), whole)
    check_equal(take(make(workers=workers), 4, start_step=2), whole[2:])


@pytest.fixture
def any_config(config, audio, text, folder, sounds, texts):
    """A configuration of any modality, with one unreadable record where that can be."""
    damage(folder, [3])
    (sounds / "ann" / "03.wav").write_bytes(b"no sound")
    make = {"image": (config, folder), "audio": (audio, sounds), "text": (text, texts)}

    def any_of(modality, **changes):
        maker, source = make[modality]
        return maker(source, max_bad_share=0.5, **changes)

    return any_of


KEYS = {
    "image": {"inputs": (np.uint8, (8, 16, 16, 3))},
    "audio": {
        "inputs": (np.int16, (8, 4000)),
        "offset": (np.float32, (8,)),
        "scale": (np.float32, (8,)),
    },
    "text": {"inputs": (np.int32, (8, 16))},
}


@pytest.mark.parametrize("modality", ["audio", "image", "text"])
def test_every_modality(any_config, modality):
    """Threads, resuming and shares of processes do not matter; seeds do."""
    whole = take(any_config(modality, threads=0), 6)
    held = {key: (array.dtype, array.shape) for key, array in whole[0].items()}
    assert held == KEYS[modality] | {"example_id": (np.int32, (8,))}
    assert whole[0]["inputs"].shape[1:] == any_config(modality).example_shape
    check_equal(take(any_config(modality, threads=3), 6), whole)
    check_equal(take(any_config(modality), 2, start_step=4), whole[4:])
    for process in range(2):
        share = take(any_config(modality), 6, process_index=process, process_count=2)
        rows = slice(4 * process, 4 * process + 4)
        cut = [{key: array[rows] for key, array in batch.items()} for batch in whole]
        check_equal(share, cut)
    other = take(any_config(modality), 1, seed=4)[0]
    assert not np.array_equal(other["inputs"], whole[0]["inputs"])


@pytest.mark.parametrize("modality", ["audio", "image", "text"])
def test_worker_processes_do_not_matter(any_config, modality):
    cfg = any_config(modality, workers=2)
    with open_batches(cfg, seed=3, batch_size=8) as batches:
        check_equal([next(batches) for _ in range(6)], take(any_config(modality), 6))
        bad = {"image": ["cats/03.jpg"], "audio": ["ann/03.wav"], "text": []}
        assert list(batches.faults) == bad[modality]


def test_resume_is_a_slice(config, folder):
    damage(folder, [4])
    cfg = config(folder, max_bad_share=0.5)
    check_equal(take(cfg, 3, start_step=4), take(cfg, 7)[4:])
    began = time.monotonic()
    take(cfg, 1, start_step=10**9)
    assert time.monotonic() - began < 1


def test_shares_of_processes_make_up_the_batch(config, folder):
    damage(folder, [4])
    cfg = config(folder, max_bad_share=0.5)
    shares = [take(cfg, 5, process_index=p, process_count=2) for p in range(2)]
    for whole, first, second in zip(take(cfg, 5), *shares):
        for key in whole:
            assert len(first[key]) == len(second[key]) == 4
            assert np.array_equal(whole[key], np.concatenate([first[key], second[key]]))


def test_crops_of_several_lengths(audio, sounds):
    """Each utterance in the longest crop that it fills; batches hold about as much in all."""
    for number in range(6):
        (sounds / "bob" / f"1{number}.wav").write_bytes(wav(tone(3_000)))
    cfg = audio(sounds, samples=4_000, buckets=(2_000, 6_000))
    whole = take(cfg, 20, batch_size=9)
    shapes = [batch["inputs"].shape for batch in whole]
    assert set(shapes) == {(18, 2_000), (6, 6_000)}
    ids = [batch["example_id"] for batch in whole if len(batch["inputs"]) == 18]
    short = set(np.concatenate(ids))
    lengths = cfg.open().source.source.lengths
    assert short == set(np.flatnonzero(lengths < 6_000))
    check_equal(take(cfg, 5, batch_size=9, start_step=15), whole[15:])
    halves = [take(cfg, 6, batch_size=9, process_index=p, process_count=3) for p in range(3)]
    for batch, *shares in zip(whole, *halves):
        assert np.array_equal(batch["inputs"], np.concatenate([one["inputs"] for one in shares]))


def test_several_sources_by_weight(config, folder, tmp_path):
    """Each keeps its share of the examples, and no two records of different sources one id."""
    (tmp_path / "other").mkdir()
    for number in range(3):
        (tmp_path / "other" / f"{number}.jpg").write_bytes(jpeg(number))
    both = f"{folder} + {tmp_path / 'other'}"
    ids = np.concatenate([batch["example_id"] for batch in take(config(both), 23)])
    assert sorted(np.bincount(ids)) == 23 * [8]  # as if it were one source
    cfg = config(both, weights=(1.0, 1.0))
    ids = np.concatenate([batch["example_id"] for batch in take(cfg, 25)])
    assert (ids < 20).sum() == 100
    warm = config(both, temperature=2.0)
    ids = np.concatenate([batch["example_id"] for batch in take(warm, 25)])
    assert abs((ids >= 20).mean() - 3**0.5 / (20**0.5 + 3**0.5)) < 0.01
    with pytest.raises(UserError, match="no such folder"):
        open_batches(config(f"{folder} + {tmp_path / 'gone'}"), seed=0, batch_size=8)
    prints = set()
    for one in (config(both), cfg, warm, config(folder)):
        with open_batches(one, seed=0, batch_size=8) as batches:
            prints.add(batches.fingerprint)
    assert len(prints) == 4


def test_sources_smaller_than_a_batch(config, folder):
    for path in sorted(folder.rglob("*.jpg"))[1:]:
        path.unlink()
    batch = take(config(folder), 1)[0]
    assert batch["inputs"].shape[0] == 8 and not batch["example_id"].any()


def test_bad_records_are_replaced_counted_and_named_once(config, folder, caplog):
    clean = take(config(folder), 10)
    names = damage(folder, [7, 12])
    cfg = config(folder, max_bad_share=0.5)
    with caplog.at_level(logging.WARNING, "d2v"):
        with open_batches(cfg, seed=3, batch_size=8) as batches:
            damaged = [next(batches) for _ in range(10)]
            assert batches.seen == 80 and batches.skipped == 8  # two of twenty, four epochs
            assert sorted(batches.faults) == names
            assert "truncated" in batches.faults[names[0]]
            assert "not a picture" in batches.faults[names[1]]
    assert sorted(r.getMessage().split(":")[0] for r in caplog.records) == [
        f"skipped {name}" for name in names
    ]
    replaced = 0
    for before, after in zip(clean, damaged):
        bad = np.isin(before["example_id"], [7, 12])
        replaced += bad.sum()
        assert not np.isin(after["example_id"], [7, 12]).any()
        assert np.array_equal(before["example_id"][~bad], after["example_id"][~bad])
        assert np.array_equal(before["inputs"][~bad], after["inputs"][~bad])
    assert replaced == 8
    check_equal(take(cfg, 10), damaged)


def test_too_many_bad_records_stop_the_run(config, folder):
    damage(folder, range(0, 20, 4))
    message = r"of \d+ records are unreadable \(2\d\.\d%\).*max_bad_share=0\.05.*\.jpg: .*Repair"
    with pytest.raises(UserError, match=message):
        take(config(folder), 30)


def test_bad_luck_within_the_limit_does_not_stop_it(config, folder):
    damage(folder, [5])
    for seed in range(3):
        take(config(folder), 10, seed=seed)


def test_nothing_readable_stops_the_run_at_once(config, folder):
    damage(folder, range(20))
    batches = open_batches(config(folder, max_bad_share=1.0), seed=3, batch_size=8)
    with pytest.raises(UserError, match=r"21 records in a row.*, for example .*\.jpg: "):
        next(batches)
    with pytest.raises(ValueError, match="closed"):  # after a fault nobody may go on
        next(batches)


def test_fingerprint_follows_what_a_batch_is(config, folder):
    def of(seed=3, batch_size=8, **changes):
        with open_batches(config(folder, **changes), seed=seed, batch_size=batch_size) as batches:
            return batches.fingerprint

    assert of() == of(threads=3, max_bad_share=0.2)
    changed = [
        of(seed=4),
        of(batch_size=4),
        of(image_size=8),
        of(channels=1),
        of(flip=0.0),
        of(crop_scale=(0.3, 1.0)),
        of(crop_ratio=(1.0, 1.0)),
        of(jitter=0.4),
    ]
    assert len({of(), *changed}) == 9


def test_fingerprint_follows_what_a_crop_of_sound_is(audio, sounds):
    def of(**changes):
        with open_batches(audio(sounds, **changes), seed=3, batch_size=8) as batches:
            return batches.fingerprint

    assert of() == of(threads=3, max_bad_share=0.2) == of(min_samples=1_000)
    assert len({of(), of(samples=5_000)}) == 2


def test_closing(config, folder):
    batches = open_batches(config(folder), seed=0, batch_size=8)
    next(batches)
    assert batches.wait_s > 0
    batches.close()
    batches.close()
    with pytest.raises(ValueError, match="closed"):
        next(batches)


def test_sizes_that_do_not_fit(config, folder):
    with pytest.raises(UserError, match=r"batch_size=9 makes .* 2 processes .*such as 10"):
        open_batches(config(folder), seed=0, batch_size=9, process_count=2)
    with pytest.raises(UserError, match="seed=-1"):
        open_batches(config(folder), seed=-1, batch_size=8)

    class Huge:
        def __len__(self):
            return 2**31

    huge = Opened(Huge(), (), (), None, ())
    with pytest.raises(UserError, match="2147483648 records"):
        open_batches(config(folder), seed=0, batch_size=8, data=huge)


SCRIPT = """
import multiprocessing, signal, sys
from d2v_jax.data.image.data import ImageData
from d2v_jax.data.loader import open_batches

if __name__ == "__main__":
    interrupts = []
    signal.signal(signal.SIGINT, lambda *_: interrupts.append(1))
    cfg = ImageData(
        source=sys.argv[1], split="train", weights=(), temperature=1.0, image_size=16, channels=3,
        crop_scale=(0.2, 1.0), crop_ratio=(1.0, 1.0), flip=0.5, jitter=0.0, resize="exact",
        threads=1, workers=1, max_bad_share=0.5, labels="none", label_names=(), per_class=0,
        balance=False,
        operations=0, strength=9.0, central_crop=0.875, most_pixels=10**6,
    )
    with open_batches(cfg, seed=0, batch_size=4) as batches:
        next(batches)
        print(*[child.pid for child in multiprocessing.active_children()], flush=True)
        while not interrupts:
            next(batches)
        for _ in range(10):
            next(batches)
        print("still reading", flush=True)
        while True:
            next(batches)
"""


def test_workers_leave_ctrl_c_alone_and_die_with_their_parent(tmp_path, folder):
    """Ctrl-C reaches the whole process group: a worker it killed would break the last batches."""
    script = tmp_path / "run.py"
    script.write_text(SCRIPT)
    process = subprocess.Popen(
        [sys.executable, str(script), str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        workers = [int(pid) for pid in process.stdout.readline().split()]
        assert workers and all(_alive(pid) for pid in workers)
        os.killpg(process.pid, signal.SIGINT)
        assert process.stdout.readline() == "still reading\n"
        assert all(_alive(pid) for pid in workers)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    deadline = time.monotonic() + 10
    while any(_alive(pid) for pid in workers):
        assert time.monotonic() < deadline, "worker processes outlived the run"
        time.sleep(0.05)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:  # a zombie waits for a parent that will not come
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
