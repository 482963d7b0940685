"""`d2v units`: the targets of HuBERT."""

import argparse
from collections.abc import Callable

from d2v_jax.cli.data import SOURCE
from d2v_jax.cli.shared import CHECKPOINT
from d2v_jax.common.buckets import place
from d2v_jax.common.checks import UserError

MORE = """
OUT is given to a recipe as --config.data.units="('OUT',)"; its units.json holds the report. Of
recordings beside which files tell when phones are said (.phn), units are compared with these.

HuBERT's first iteration learns clusters of MFCCs, the second those of a layer of the first:
  d2v units SOURCE units/1
  d2v pretrain --config hubert_base --workdir runs/1 --config.data.source=SOURCE \\
      "--config.data.units=('units/1',)" "--config.clusters.classes=(104,)" \\
      --config.clusters.rate=100 --config.train.steps=250000
  d2v units SOURCE units/2 --of runs/1 --layer 5 --clusters 500
  d2v pretrain --config hubert_base --workdir runs/2 --config.data.source=SOURCE \\
      "--config.data.units=('units/2',)"
"""


def add(task: Callable[..., argparse.ArgumentParser]) -> None:
    """The sub-command."""
    sub = task(
        "units",
        _units,
        "clusters of frames of sound, and the number of its own for each frame, beside the data; "
        "run it again to go on where it was interrupted",
        MORE,
    )
    sub.add_argument("source", metavar="SOURCE", help=SOURCE)
    sub.add_argument("out", type=place, metavar="OUT", help="a new folder")
    sub.add_argument(
        "--of",
        default="mfcc",
        metavar="WHAT",
        help=f"mfcc, 100 frames a second; or a layer of {CHECKPOINT}; default %(default)s",
    )
    sub.add_argument(
        "--layer", help="of the checkpoint: a trunk block's number from 0, last, average"
    )
    sub.add_argument("--clusters", type=int, metavar="K", help="default 100")
    sub.add_argument(
        "--like",
        type=place,
        metavar="OUT",
        help="take the centres of these units, as for data to test on",
    )
    sub.add_argument("--split", default="train", help="of a source with several; default train")
    sub.add_argument(
        "--sample-mb",
        type=int,
        default=1024,
        metavar="M",
        help="MiB of frames that centres are learnt of, drawn from all; default %(default)s",
    )
    sub.add_argument("--seed", type=int, default=0, help="default %(default)s")


def _units(args: argparse.Namespace, _: list[str]) -> int:
    from d2v_jax.configs import audio
    from d2v_jax.train.machine import compile_cache
    from d2v_jax.train.recipe import resolve
    from d2v_jax.transfer.units import making

    for name, value in (("--clusters", args.clusters), ("--sample-mb", args.sample_mb)):
        if value is not None and value <= 0:
            raise UserError(f"{name} {value}: must be positive")
    if args.like and args.clusters:
        raise UserError(f"--clusters {args.clusters}: --like {args.like} has its own number")
    base = audio.get_config()
    base.data.source, base.data.split = args.source, args.split
    compile_cache.enable()
    options = making.Options(
        args.of, args.layer, args.clusters or 100, args.like, args.sample_mb, args.seed
    )
    print(making.make(resolve.resolve(base).data, args.out, options))
    return 0
