"""Runs loaders and a run for long and watches memory and open files, which must stay flat.

    python tests/soak.py                                  # everything: hours
    python tests/soak.py image-prepared run --share 0.1   # some cases, a tenth as long
    python tests/soak.py --list

A case is a process of its own, looked at from outside. What its memory grows by is the slope of a
line through all but the first fifth, in which caches fill. Ends with 1 where a case failed, grew
by more than 16 MiB ("saves", a tenth as many steps and 100 checkpoints: by 2 MiB each), or opened
files that it did not close.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np

HERE = pathlib.Path(__file__).resolve()
sys.path.insert(0, str(HERE.parent / "data"))

BATCHES = 100_000
STEPS = 20_000
LENGTHS = {"run": STEPS, "saves": STEPS // 10}  # of what is no reading of batches
MODALITIES = ("image", "audio", "text")
KINDS = ("folder", "prepared", "mixed", "workers")
CASES = (*(f"{modality}-{kind}" for modality in MODALITIES for kind in KINDS), "run", "saves")
FILES = 64
GROWTH_MIB = 16
SAVES = 100  # of the case of that name
# TensorStore (0.1.86) keeps the JSON of every array that it describes, some 5 kB; and the heap,
# of which a run on a CPU hands nothing back, grows a little with each.
SAVE_MIB = 2
WARM = 200  # batches before the first look
ENDING_S = 0.3
DONE = b"done\n"
LOOKS = 400  # at a case, at least
D2V = [sys.executable, "-m", "d2v_jax.cli"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", help="default: all")
    parser.add_argument("--share", type=float, default=1.0, help="of the length")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--read", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.list:
        print("\n".join(CASES))
        return 0
    if args.read:
        read(*args.read)
        return 0
    if unknown := set(args.cases) - set(CASES):
        parser.error(f"no case {', '.join(sorted(unknown))}; there are {', '.join(CASES)}")
    failed = 0
    for case in args.cases or CASES:
        with tempfile.TemporaryDirectory() as folder:
            failed += not soak(case, pathlib.Path(folder), args.share)
    return min(failed, 1)


def soak(case: str, folder: pathlib.Path, share: float) -> bool:
    """Prints a line about a case; whether it stayed flat."""
    began = time.monotonic()
    length = round(share * LENGTHS.get(case, BATCHES))
    code, samples_n3 = watch(command(case, folder, length), folder / "log")
    seconds = time.monotonic() - began
    if code or len(samples_n3) < 10:
        last = (folder / "log").read_text(errors="replace").splitlines()[-1:]
        print(f"{case}: ended with {code} after {len(samples_n3)} looks: {last}", flush=True)
        return False
    grown, files = growth(samples_n3)
    most = SAVES * SAVE_MIB if case == "saves" else GROWTH_MIB
    flat = grown < most and files <= 0
    unit = "steps" if case in LENGTHS else "batches"
    _, mib, opened = samples_n3[-1]
    print(
        f"{case}: {length:,} {unit} in {seconds:.0f} s, {mib:.0f} MiB, grew by {grown:+.1f} MiB, "
        f"{opened:.0f} files open, {files:+.0f}: {'flat' if flat else 'NOT FLAT'}",
        flush=True,
    )
    return flat


def growth(samples_n3: np.ndarray) -> tuple[float, float]:
    """MiB and open files that were added over all but the first fifth of the time.

    `samples_n3` are seconds, MiB and files. Files come and go: what counts is the least that are
    open, in the first and in the last quarter of that.
    """
    steady = samples_n3[samples_n3[:, 0] >= samples_n3[-1, 0] / 5]
    seconds, mib, files = steady.T
    slope = np.polyfit(seconds - seconds[0], mib, 1)[0] * (seconds[-1] - seconds[0])
    quarter = max(len(steady) // 4, 1)
    return float(slope), float(files[-quarter:].min() - files[:quarter].min())


def watch(words: list[str], log: pathlib.Path) -> tuple[int, np.ndarray]:
    """Exit code of a command, and float64 [n, 3]: seconds, MiB and open files of its processes.

    From its first word on, and but for the last seconds, in which it ends.
    """
    samples = []
    began = time.monotonic()
    with log.open("wb") as out:
        child = subprocess.Popen(words, stdout=out, stderr=subprocess.STDOUT)
        try:
            while child.poll() is None:
                said = log.read_bytes()
                if said and not said.endswith(DONE) and (looked := look(child.pid)):
                    samples.append((time.monotonic() - began, *looked))
                # Few looks at what takes hours, many at what takes seconds.
                time.sleep(np.clip((time.monotonic() - began) / LOOKS, 0.05, 10))
        finally:
            child.kill()
    samples_n3 = np.array(samples).reshape(-1, 3)
    return child.returncode, samples_n3[samples_n3[:, 0] < samples_n3[-1:, 0] - ENDING_S]


def look(pid: int) -> tuple[float, int] | None:
    """MiB in memory and open files of a process and its children; None where it is gone."""
    mib, files = 0.0, 0
    try:
        for one in [pid, *children(pid)]:
            pages = int(pathlib.Path(f"/proc/{one}/statm").read_text().split()[1])
            mib += pages * os.sysconf("SC_PAGE_SIZE") / 2**20
            files += len(os.listdir(f"/proc/{one}/fd"))
    except (FileNotFoundError, ProcessLookupError):
        return None
    return mib, files


def children(pid: int) -> list[int]:
    direct = [
        int(word)
        for thread in pathlib.Path(f"/proc/{pid}/task").iterdir()
        for word in (thread / "children").read_text().split()
    ]
    return direct + [inner for one in direct for inner in children(one)]


def command(case: str, folder: pathlib.Path, length: int) -> list[str]:
    """What runs a case; its data are made first."""
    if case in LENGTHS:
        every = max(length // SAVES, 1) if case == "saves" else length
        fields = (f"steps={length}", "log_every=50", f"checkpoint_every={every}")
        words = [f"--config.train.{field}" for field in fields]
        recipe = ["--config", "quickstart_image:smoke", "--workdir", str(folder / "run")]
        return [*D2V, "pretrain", *recipe, *words]
    modality, kind = case.split("-")
    files, shards = folder / "files", folder / "shards"
    make(modality, files)
    source = str(files)
    if kind in ("prepared", "mixed"):
        subprocess.run(
            [*D2V, "data", "prepare", str(files), str(shards), *config_of(modality)],
            check=True,
            capture_output=True,
        )
        source = str(shards) if kind == "prepared" else f"{files} + {shards}"
    workers = "1" if kind == "workers" else "0"
    return [sys.executable, str(HERE), "--read", modality, source, workers, str(length)]


def config_of(modality: str) -> list[str]:
    tokenizer = ["--config.data.tokenizer=bytes"] if modality == "text" else []
    return ["--config", f"quickstart_{modality}", *tokenizer]


def make(modality: str, folder: pathlib.Path) -> None:
    """Small files of every length and side."""
    import pictures
    import sounds

    folder.mkdir()
    for number in range(FILES):
        name = folder / f"{number:03d}"
        if modality == "image":
            name.with_suffix(".jpg").write_bytes(pictures.jpeg(number))
        elif modality == "audio":
            wave = sounds.tone(11_000 + 200 * number, 200.0 + 10 * number)
            name.with_suffix(".wav").write_bytes(sounds.wav(wave))
        else:
            name.with_suffix(".txt").write_text(f"This is line {number}.\n" * (100 + number))


def read(modality: str, source: str, workers: str, batches: str) -> None:
    """Takes so many batches of two examples."""
    from d2v_jax.data.loader import open_batches
    from d2v_jax.train.recipe import resolve

    fields = [f"data.source={source}", "data.threads=2", f"data.workers={workers}"]
    words = [*config_of(modality)[2:], *(f"--config.data.{f[5:]}" for f in fields)]
    config = resolve.resolve(resolve.load(f"quickstart_{modality}", words))
    with open_batches(config.data, seed=0, batch_size=2) as stream:
        for number in range(int(batches)):
            if number == WARM:
                print("warm", flush=True)
            next(stream)
        print(DONE.decode(), end="", flush=True)  # workers end first


if __name__ == "__main__":
    sys.exit(main())
