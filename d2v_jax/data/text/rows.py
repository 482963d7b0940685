"""Token ids that every tokenizer shares, and rows of equal length (REFERENCE §7.1)."""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np

from d2v_jax.data.records import Example, Record

BOS, PAD, EOS, UNK = 0, 1, 2, 3  # <s>, <pad>, </s>, <unk>
SPECIALS = 4  # ids of types begin here; <mask> is the last id of all


def cut_off(record: Record, rng: np.random.Generator, tokens: int) -> Example:
    """As `padded`; what is longer loses its end."""
    return padded(dataclasses.replace(record, data=record.data[: tokens - 1]), rng, tokens)


def padded(record: Record, rng: np.random.Generator, tokens: int) -> Example:
    """inputs int32 [t], t = `tokens`: `<s>`, the record's ids, `<pad>` where they end."""
    del rng
    inputs_t = np.full(tokens, PAD, np.int32)
    inputs_t[0] = BOS
    inputs_t[1 : 1 + len(record.data)] = record.data
    return {"inputs": inputs_t}


def with_words(record: Record, rng: np.random.Generator, tokens: int, opens: np.ndarray) -> Example:
    """As `padded`, and goes_on bool [t]: which ids are of the same word as the one before them.

    `opens`, bool [id]: ids that begin a word; specials are words of their own.
    """
    example = padded(record, rng, tokens)
    ids_t = example["inputs"]
    special_t = ids_t < SPECIALS
    behind_t = np.append(True, special_t[:-1])
    return {**example, "goes_on": ~(opens[ids_t] | special_t | behind_t)}


def cutting(opens: np.ndarray | None) -> Callable[..., Example]:
    """`with_words` where it is told which ids begin a word, else `padded`."""
    return padded if opens is None else functools.partial(with_words, opens=opens)
