"""`d2v probe`, `d2v features` and `d2v convert`: what anyone's checkpoint is good for."""

import argparse
from collections.abc import Callable

from d2v_jax.cli.shared import CHECKPOINT
from d2v_jax.common.buckets import place

Task = Callable[..., argparse.ArgumentParser]

LAYER = "last, average, all (side by side), or a trunk block's number from 0; default %(default)s"
FILE = """
A file .npz, to be read with numpy.load, holds
  names     [n] paths below the folder; of a text FILE:LINE, where the document begins
  features  [n, d] float32, the mean over each example's tokens
with --frames
  features  [t, d] float32, all tokens of all examples one after the other
  offsets   [n + 1]: those of example i are features[offsets[i]:offsets[i + 1]]
d is the model's width, with --layer all that times its depth. Speech has a token every 20 ms, an
image one per patch, row by row, a text one per id, its begin and line ends included.
Files that cannot be read are left out, named and counted.
"""


def add(task: Task) -> None:
    """The sub-commands."""
    sub = task(
        "probe",
        _probe,
        "kNN and linear probe on frozen features: classes of images and patches, "
        "voices, words and phones, documents of passages, tags of words",
    )
    sub.add_argument("checkpoint", type=place, metavar="RUN", help=CHECKPOINT)
    sub.add_argument(
        "--source",
        help="where labels are: a folder with one sub-folder per class "
        "or speaker, tfds:NAME, builtin:photos, builtin:tones, "
        "builtin:speech, builtin:python-docs, sentences with tags (.conllu, .conll); "
        "default: what it was trained on",
    )
    sub.add_argument(
        "--examples",
        type=int,
        help="most per task and split; default 4000 images, 2000 of anything else",
    )
    sub.add_argument(
        "--layer",
        default="all",
        help=f"{LAYER}; search: the block that does best on a fifth of what is learnt from",
    )

    sub = task(
        "features",
        _features,
        "features of images, sounds or texts, as .npz, .safetensors or .parquet; "
        "run it again to go on where it was interrupted",
        FILE,
    )
    sub.add_argument("checkpoint", type=place, metavar="RUN", help=CHECKPOINT)
    sub.add_argument(
        "inputs",
        metavar="INPUT",
        help="a folder of jpg, png, webp or of wav, flac, ogg; for text a folder of "
        ".txt files or one file, whose documents end at empty lines; a manifest, a folder that "
        "d2v data prepare wrote, tfds:NAME",
    )
    sub.add_argument("--out", required=True, type=place, metavar="FILE")
    sub.add_argument("--split", default="train", help="of a source with several; default train")
    sub.add_argument("--layer", default="last", help=LAYER)
    sub.add_argument("--teacher", action="store_true", help="the teacher's, not the student's")
    sub.add_argument("--frames", action="store_true", help="every token's, not their mean")
    sub.add_argument(
        "--max-seconds",
        type=float,
        default=60,
        metavar="S",
        help="of a longer sound only the beginning; default %(default)g",
    )
    sub.add_argument(
        "--tokenizer",
        metavar="FOLDER",
        help="of a model of text that brings none: "
        "the folder with vocab.json and merges.txt, or 'bytes'",
    )

    sub = task(
        "convert",
        _convert,
        "anyone's checkpoint into a run folder, one safetensors file or a Hugging Face folder",
    )
    sub.add_argument("source", type=place, metavar="IN", help=CHECKPOINT)
    sub.add_argument("out", type=place, metavar="OUT", help="a new folder")
    sub.add_argument(
        "--to",
        default="run",
        choices=("run", "safetensors", "hf"),
        help="default %(default)s; hf: data2vec 1.0 and siblings",
    )


def _probe(args: argparse.Namespace, _: list[str]) -> int:
    from d2v_jax.train.machine import compile_cache
    from d2v_jax.transfer.probes import probe

    compile_cache.enable()
    print(probe.probe_run(args.checkpoint, args.source, args.examples, args.layer))
    return 0


def _features(args: argparse.Namespace, _: list[str]) -> int:
    from d2v_jax.train.machine import compile_cache
    from d2v_jax.transfer import features

    compile_cache.enable()
    options = features.Options(
        args.layer, args.teacher, args.frames, args.max_seconds, args.tokenizer, args.split
    )
    print(features.write(args.checkpoint, args.inputs, args.out, options))
    return 0


def _convert(args: argparse.Namespace, _: list[str]) -> int:
    from d2v_jax.transfer import convert

    print(convert.convert(args.source, args.out, args.to))
    return 0
