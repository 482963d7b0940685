"""Token ids that every tokenizer shares, and rows of equal length (REFERENCE §7.1)."""

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from d2v_jax.data.records import Example, Record

SPECIALS = 4  # where ids of types begin in vocabularies of ours; <mask> is the last id of all


class Specials(NamedTuple):
    """Ids of `<s>`, `<pad>`, `</s>` and `<unk>`, or of what a tokenizer has in their places.

    `doubled`: two `</s>` stand between the parts of a pair.
    """

    bos: int = 0
    pad: int = 1
    eos: int = 2
    unk: int = 3
    doubled: bool = True


OURS = Specials()
BOS, PAD, EOS, UNK, _ = OURS


def cut_off(record: Record, rng: np.random.Generator, tokens: int, ids: Specials = OURS) -> Example:
    """As `padded`; what is longer loses its end."""
    return padded(dataclasses.replace(record, data=record.data[: tokens - 1]), rng, tokens, ids)


def padded(record: Record, rng: np.random.Generator, tokens: int, ids: Specials = OURS) -> Example:
    """inputs int32 [t], t = `tokens`: `<s>`, the record's ids, `<pad>` where they end."""
    del rng
    inputs_t = np.full(tokens, ids.pad, np.int32)
    inputs_t[0] = ids.bos
    inputs_t[1 : 1 + len(record.data)] = record.data
    return {"inputs": inputs_t}


def with_words(
    record: Record,
    rng: np.random.Generator,
    tokens: int,
    opens: np.ndarray,
    ids: Specials = OURS,
) -> Example:
    """As `padded`, and goes_on bool [t]: which ids are of the same word as the one before them.

    `opens`, bool [id]: ids that begin a word; specials are words of their own.
    """
    example = padded(record, rng, tokens, ids)
    ids_t = example["inputs"]
    special_t = np.isin(ids_t, ids[:4])
    behind_t = np.append(True, special_t[:-1])
    return {**example, "goes_on": ~(opens[ids_t] | special_t | behind_t)}


def cutting(opens: np.ndarray | None, ids: Specials = OURS) -> Callable[..., Example]:
    """`with_words` where it is told which ids begin a word, else `padded`."""
    if opens is None:
        return functools.partial(padded, ids=ids)
    return functools.partial(with_words, opens=opens, ids=ids)
