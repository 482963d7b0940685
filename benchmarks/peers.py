"""One training step beside those of others, in turn, in one run, on this machine.

    python benchmarks/peers.py v2_image_base --batch 2 --fairseq CHECKOUT --fairseq-python PYTHON
    python benchmarks/peers.py v1_audio_base --batch 1 --torch-python PYTHON
    python benchmarks/peers.py quickstart_text --before OLDER_CHECKOUT_OF_D2V_JAX

Each contestant is a process of its own with its own interpreter; one works while the others wait.
"""

import argparse
import contextlib
import datetime
import json
import os
import pathlib
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
HUGE_PAGES = "glibc.malloc.hugetlb=1"  # what `d2v` begins with (d2v_jax/cli/start.py)
PAUSE_S = 0.3  # threads of the one before come to rest
COMPARED = ("student", "teacher", "examples", "tokens", "hidden", "views")
FAR = 0.02
# What is installed under another name than it is imported by.
PACKAGES = {"hydra": "hydra-core", "sklearn": "scikit-learn"}


class Failed(Exception):
    """A contestant could not go on."""


class Contestant:
    """A worker behind two pipes."""

    def __init__(
        self,
        name: str,
        python: str,
        script: str,
        spec: dict[str, Any],
        path: str = "",
        tunables: str = "",
    ):
        self.name, self.turns, self._python = name, [], python
        argv = [python, str(HERE / "workers" / script), json.dumps(spec)]
        # JAX takes no more of a GPU than it needs: the others lie beside it.
        env = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", **os.environ, "PYTHONPATH": path}
        if tunables:
            env.setdefault("GLIBC_TUNABLES", tunables)
        self._errors = tempfile.TemporaryFile("w+")
        try:
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                text=True,
                env=env,
            )
        except OSError as error:
            raise Failed(f"{name}: {python} cannot be run: {error.strerror}") from error

    def ready(self) -> dict[str, Any]:
        """Waits until it has warmed up; what it says of itself."""
        self.facts = self._answer()["ready"]
        with contextlib.suppress(OSError):  # what compiling took is forgotten
            self._proc.joinpath("clear_refs").write_text("5")
        return self.facts

    @property
    def peak_bytes(self) -> int | None:
        """Of the process's memory, at most since it was ready; where Linux tells."""
        with contextlib.suppress(OSError):
            found = re.search(r"VmHWM:\s+(\d+) kB", self._proc.joinpath("status").read_text())
            return int(found[1]) << 10 if found else None

    @property
    def _proc(self) -> pathlib.Path:
        return pathlib.Path(f"/proc/{self._process.pid}")

    def turn(self) -> None:
        # One that has ended is noticed by its silence.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write("step\n")
            self._process.stdin.flush()
        self.turns.append(self._answer()["seconds"])

    def close(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()
        self._errors.close()

    def _answer(self) -> dict[str, Any]:
        line = self._process.stdout.readline()
        answer = json.loads(line) if line else {}
        if not line or "error" in answer:
            self._errors.seek(0)
            said = [text for text in self._errors.read().splitlines() if text.strip()][-3:]
            why = answer.get("error")
            if not line:
                code = self._process.wait()  # negative: the signal that ended it
                why = "\n  ".join([f"ended with code {code} and without an answer", *said])
            raise Failed(f"{self.name}: {why}{remedy(why, self._python)}")
        return answer


def remedy(why: str, python: str) -> str:
    """How a module is had that is missing; nothing where none is, or only a part of one."""
    missing = re.findall(r"No module named '(\w+)", why)
    if not missing:
        return ""
    return f"; {python} -m pip install {PACKAGES.get(missing[-1], missing[-1])}"


def main(argv: list[str] | None = None) -> int:
    args = parser().parse_args(argv)
    try:
        record = measured(args)
    except Failed as failure:
        print(f"peers: {failure}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    if args.json:
        args.json.write_text(json.dumps(record, indent=1) + "\n")
    print(_table(record))
    return 0


def measured(args: argparse.Namespace) -> dict[str, Any]:
    """Everything about one recipe. Raises `Failed` where a contestant could not go on."""
    contestants: list[Contestant] = []

    def enter(one: Contestant) -> dict[str, Any]:
        """One after the other: each warms up alone."""
        contestants.append(one)
        print(f"{one.name}: building and warming up ...", file=sys.stderr)
        return one.ready()

    try:
        facts = enter(_ours("ours", args, ROOT))
        spec = {"recipe": args.recipe, **facts}
        if args.before:
            enter(_ours("before", args, args.before.resolve()))
        if args.compare:
            enter(_ours("other", args, ROOT, args.compare))
        if args.torch_python:
            enter(Contestant("transformers", args.torch_python, "transformers_v1.py", spec))
        if args.fairseq:
            spec["checkout"] = str(args.fairseq.resolve())
            enter(Contestant("fairseq", args.fairseq_python, "original.py", spec))
        for number in range(args.rounds):
            for one in contestants:
                time.sleep(PAUSE_S)
                one.turn()
            print(
                f"round {number + 1}/{args.rounds}: "
                + ", ".join(f"{one.name} {one.turns[-1]:.3f} s" for one in contestants),
                file=sys.stderr,
            )
        return _record(args, contestants)
    finally:
        for one in contestants:
            one.close()


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", help="of ours, as in v2_image_base")
    parser.add_argument("--batch", type=int, help="examples of a step; default the recipe's")
    parser.add_argument("--rounds", type=int, default=7, help="default %(default)s")
    parser.add_argument(
        "--seconds-of-sound",
        type=float,
        default=10,
        metavar="S",
        help="of each example; default %(default)g",
    )
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16"),
        default="float32",
        help="of products, for all; default %(default)s",
    )
    parser.add_argument(
        "--compare",
        nargs="+",
        default=(),
        metavar="FIELD=VALUE",
        help="ours with this too, as in trunk.fused_attention=True",
    )
    parser.add_argument(
        "--before",
        "--ours",
        type=pathlib.Path,
        metavar="CHECKOUT",
        help="an older d2v_jax, with this interpreter",
    )
    parser.add_argument(
        "--torch-python",
        metavar="PYTHON",
        help="one with torch and transformers, for recipes of 1.0",
    )
    parser.add_argument("--fairseq", type=pathlib.Path, metavar="CHECKOUT")
    parser.add_argument(
        "--fairseq-python",
        metavar="PYTHON",
        default=sys.executable,
        help="one with torch, hydra-core and omegaconf",
    )
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE")
    return parser


def _ours(
    name: str, args: argparse.Namespace, checkout: pathlib.Path, more: Sequence[str] = ()
) -> Contestant:
    fields = []
    if not args.recipe.startswith("quickstart"):
        fields = [f"trunk.dtype={args.dtype}", "train.micro_batches=1"]
        if "audio" in args.recipe:
            samples = int(16_000 * args.seconds_of_sound)
            fields += [
                "data.buckets=()",
                f"data.samples={samples}",
                f"data.min_samples={min(samples, 32_000)}",
            ]
    if args.batch:
        fields.append(f"train.batch_size={args.batch}")
    fields += more
    spec = {"recipe": args.recipe, "commit": commit(checkout), "fields": fields}
    return Contestant(name, sys.executable, "ours.py", spec, str(checkout), HUGE_PAGES)


def commit(checkout: pathlib.Path) -> str:
    """Of what is measured; of a folder outside git its name."""
    command = ["git", "--no-optional-locks", "-C", str(checkout), "describe", "--always", "--dirty"]
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        return subprocess.check_output(command, stderr=subprocess.DEVNULL, text=True).strip()
    return checkout.name


def _record(args: argparse.Namespace, contestants: list[Contestant]) -> dict[str, Any]:
    ours = contestants[0].turns
    return {
        "recipe": args.recipe,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "contestants": {
            one.name: {
                "facts": one.facts,
                "seconds": one.turns,
                "median_s": statistics.median(one.turns),
                "peak_bytes": one.peak_bytes,
                # By round: a machine that changes its speed changes it for all.
                "times_ours": _quartiles([a / b for a, b in zip(one.turns, ours)]),
            }
            for one in contestants
        },
    }


def _between(quartiles: list[float]) -> str:
    return f"{quartiles[0]:.2f} to {quartiles[2]:.2f}"


def machine() -> str:
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} x {names[0]}" if names else platform.processor()


def _quartiles(values: list[float]) -> list[float]:
    if len(values) == 1:
        return values * 3
    return statistics.quantiles(values, n=4, method="inclusive")


def _table(record: dict[str, Any]) -> str:
    contestants = record["contestants"]
    lines = [f"{record['recipe']} on {record['machine']}, {record['date'][:10]}", ""]
    lines.append(f"{'':14}" + "".join(f"{name:>16}" for name in contestants))
    for fact in COMPARED:
        values = [one["facts"].get(fact) for one in contestants.values()]
        first = values[0]
        far = any(isinstance(v, (int, float)) and abs(v / first - 1) > FAR for v in values)
        row = "".join(f"{v:>16,.10g}" if v is not None else f"{'-':>16}" for v in values)
        lines.append(f"{fact:14}{row}" + ("   differs" if far else ""))
    lines.append(
        f"{'a step, s':14}" + "".join(f"{one['median_s']:16.3f}" for one in contestants.values())
    )
    lines.append(
        f"{'times ours':14}"
        + "".join(f"{one['times_ours'][1]:16.2f}" for one in contestants.values())
    )
    lines.append(
        f"{'  half of them':14}"
        + "".join(f"{_between(one['times_ours']):>16}" for one in contestants.values())
    )
    peaks = [one["peak_bytes"] for one in contestants.values()]
    if all(peaks):
        lines.append(f"{'memory, GiB':14}" + "".join(f"{peak / 2**30:16.2f}" for peak in peaks))
    for name, one in contestants.items():
        words = ", ".join(f"{key} {value}" for key, value in one["facts"]["versions"].items())
        lines.append(f"{name}: {words}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
