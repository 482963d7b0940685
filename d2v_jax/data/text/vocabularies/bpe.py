"""Learning a byte-level BPE in GPT-2's file formats."""

import collections
import itertools
import logging
import pathlib
import tempfile
from collections.abc import Callable, Iterable

import tokenizers

from d2v_jax.common.checks import UserError
from d2v_jax.common.files import cache_folder, write_whole
from d2v_jax.data.builtin.pydocs import documents
from d2v_jax.data.records import fingerprint_of
from d2v_jax.data.text.rows import SPECIALS

log = logging.getLogger("d2v")

VOCAB, MERGES, DICTIONARY = "vocab.json", "merges.txt", "dict.txt"
LEAST = 256 + SPECIALS + 1  # the bytes, the specials and `<mask>`
DOCS_SIZE = 4096  # ids of the tokenizer of Python's documentation
LINES = 10_000  # encoded together


def learn(lines: Callable[[], Iterable[str]], out: pathlib.Path, size: int) -> tuple[int, int]:
    """Learns merges from all `lines`, which is called twice; writes the three files to `out`.

    `size` is the number of ids with the specials and `<mask>`. dict.txt lists the types by how
    often they occur, as fairseq's does, and so gives the ids. Returns the number of ids, fewer
    than `size` where the texts have too few repeated pairs, and of tokens in the texts. Raises
    `UserError` where there is nothing to learn from.
    """
    model = tokenizers.ByteLevelBPETokenizer(add_prefix_space=False)
    model.train_from_iterator(
        lines(), vocab_size=size - SPECIALS - 1, min_frequency=2, show_progress=True
    )
    counts: collections.Counter[int] = collections.Counter()
    rest = iter(lines())
    while batch := list(itertools.islice(rest, LINES)):
        for encoding in model.encode_batch(batch):
            counts.update(encoding.ids)
    if not counts:
        raise UserError("there is no text to learn a tokenizer from")
    out.mkdir(parents=True, exist_ok=True)
    model.save_model(str(out))
    # The commonest first; ties by id, so that the same texts give the same file.
    order = sorted(model.get_vocab().values(), key=lambda number: (-counts[number], number))
    listed = "".join(f"{number} {counts[number]}\n" for number in order)
    write_whole(out / DICTIONARY, listed.encode())
    return len(order) + SPECIALS + 1, counts.total()


def byte_letters() -> list[str]:
    """GPT-2's printable letter for each byte: its own where it has one, else one from 256 on."""
    own = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = itertools.count(256)
    return [chr(byte if byte in own else next(others)) for byte in range(256)]


def of_python_docs() -> pathlib.Path:
    """A folder with a tokenizer of 4,096 ids learnt from builtin:python-docs, now or before."""
    name = fingerprint_of(("bpe", DOCS_SIZE, documents()))
    folder = cache_folder() / "tokenizers" / name
    if not (folder / DICTIONARY).is_file():
        log.info("learning a tokenizer from builtin:python-docs (once, then kept in %s)", folder)
        lines = lambda: (line for document in documents() for line in document.lines)
        with tempfile.TemporaryDirectory() as made:
            learn(lines, pathlib.Path(made), DOCS_SIZE)
            for file in (VOCAB, MERGES, DICTIONARY):  # the last one says that all are there
                write_whole(folder / file, (pathlib.Path(made) / file).read_bytes())
    return folder
