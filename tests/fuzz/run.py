"""Feeds one door with spoilt input for some minutes: python tests/fuzz/run.py pickles --minutes 30

Prints how many inputs were tried and what was found, smallest form first seen. Ends with 1 where
something was. Where the process itself dies, the input is what --keep FOLDER holds.
"""

import argparse
import faulthandler
import logging
import pathlib
import resource
import sys
import tempfile
import time

import hypothesis

sys.path[:0] = [str(pathlib.Path(__file__).parents[1] / name) for name in (".", "interop", "data")]

from fuzz import judge, targets  # noqa: E402

EACH = 300  # inputs of one seed


def hunt(
    target: targets.Target,
    folder: pathlib.Path,
    seed: int,
    seconds: float,
    most: int | None = None,
    limited: bool = False,
) -> tuple[int, dict[str, str]]:
    """-> (inputs tried, findings by place). Stops after `seconds` or `most` inputs.

    `limited`: the inputs of a seed may take two GiB together, not those of all: TensorStore
    (0.1.86) keeps some kilobytes of every array that it has described.
    """
    tried, found = 0, {}
    at: list[str] = []  # of what is being shrunk
    prepared = target.prepare(folder)
    end = time.monotonic() + seconds

    def one(case: object) -> None:
        nonlocal tried
        if time.monotonic() > end:
            return
        tried += 1
        try:
            with judge.judged():
                target.check(prepared, folder, case)
        except Exception as error:
            place = judge.place_of(error)
            if place in found:
                return
            at.append(place)
            raise

    while time.monotonic() < end and (most is None or tried < most):
        if limited:
            judge.limit_memory()
        count = EACH if most is None else min(EACH, most - tried)
        options = hypothesis.settings(
            max_examples=count,
            database=None,
            deadline=None,
            report_multiple_bugs=False,
            suppress_health_check=list(hypothesis.HealthCheck),
            print_blob=False,
        )
        run = hypothesis.given(target.inputs)(lambda case: one(case))
        try:
            options(hypothesis.seed(seed)(run))()
        except Exception as error:
            notes = "\n".join(getattr(error, "__notes__", []))
            found[at[-1]] = f"{str(error)[:500]}\n{notes[:3000]}"
        seed += 1
    return tried, found


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=sorted(targets.TARGETS))
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=pathlib.Path, help="folder for the input at work")
    args = parser.parse_args()
    faulthandler.enable()
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as place:
        folder = args.keep or pathlib.Path(place)
        folder.mkdir(parents=True, exist_ok=True)
        tried, found = hunt(
            targets.TARGETS[args.target], folder, args.seed, 60 * args.minutes, limited=True
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    for at, words in found.items():
        print(f"--- {at}\n{words}")
    print(f"{args.target}: {tried:,} inputs, {len(found)} findings, at most {peak:.2f} GiB")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
