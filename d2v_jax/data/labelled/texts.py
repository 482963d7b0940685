"""Passages of text with the document each comes from."""

import dataclasses

import numpy as np

from d2v_jax.common.checks import UserError
from d2v_jax.data.labelled import baselines
from d2v_jax.data.labelled.exams import TRAIN_SHARE, Encode, Exam, Pair, Task
from d2v_jax.data.records import Source
from d2v_jax.data.text.rows import OURS, Specials

CLASSES = 32  # documents that are told apart, those with the most passages
LEAST = 16  # passages that each must have


@dataclasses.dataclass(frozen=True)
class LabelledTexts:
    """Passages int32 [t], `<s>` in front, and their labels int32 [n]."""

    texts: list[np.ndarray]
    labels: np.ndarray


def exam(
    source: Source,
    name: str,
    vocab_size: int,
    tokens: int,
    count: int,
    seed: int,
    ids: Specials = OURS,
) -> Exam:
    """Which document is a passage from? Arguments as of `labelled_texts`."""
    parts = labelled_texts(source, name, tokens, count, seed, ids)

    def features(encode: Encode | None) -> list[Pair]:
        if encode is None:
            return [tuple(baselines.token_counts(part.texts, vocab_size) for part in parts)]
        return [tuple(encode(part.texts) for part in parts)]

    return Exam("tokens", (Task("document", "passages", tuple(p.labels for p in parts)),), features)


def labelled_texts(
    source: Source, name: str, tokens: int, count: int, seed: int, ids: Specials = OURS
) -> tuple[LabelledTexts, LabelledTexts]:
    """Passages to learn from and to test, at most `count` of each; their label is the document.

    `source`, called `name`, has the passages: each as many whole lines of a document as `tokens`
    ids hold. The 32 documents
    with the most passages are used, but none with fewer than 16. Since the document is the label
    it cannot be held out: the first 70 % of each are learnt from, the rest tests, less passages
    that repeat a line of what is learnt from. Raises `UserError` where there are no labels, or
    too little text.
    """
    records = [source.read(index) for index in range(len(source))]
    if any(record.label is None for record in records):
        raise UserError(
            f"{name!r} has no labels, and a probe needs them. Of texts only one source has "
            "labels, the documents that its passages come from: --source builtin:python-docs. Of "
            "words they have tags: a .conllu or .conll file"
        )
    labels = np.array([record.label for record in records], np.int32)
    parts: tuple[list[int], list[int]] = ([], [])
    counts = np.bincount(labels)
    largest = np.argsort(-counts, kind="stable")[:CLASSES]
    for label in largest[counts[largest] >= LEAST]:
        of_label = np.flatnonzero(labels == label)
        learnt = round(TRAIN_SHARE * len(of_label))
        parts[0].extend(of_label[:learnt].tolist())
        parts[1].extend(of_label[learnt:].tolist())
    known = {line for index in parts[0] for line in _lines(records[index].data, ids)}
    fresh = [index for index in parts[1] if known.isdisjoint(_lines(records[index].data, ids))]
    if not fresh:
        raise UserError(
            f"{name!r} is too small to probe with data.tokens={tokens}: no document has "
            f"{LEAST} passages of that length; use a model of shorter ones"
        )
    draw = np.random.Generator(np.random.Philox(key=[seed, 0])).permutation
    return tuple(
        LabelledTexts(
            [np.concatenate([[ids.bos], records[index].data]).astype(np.int32) for index in some],
            labels[some],
        )
        for some in (draw(parts[0])[:count], draw(fresh)[:count])
    )


def _lines(ids_t: np.ndarray, ids: Specials) -> list[bytes]:
    ends = np.flatnonzero(ids_t == ids.eos) + 1
    return [line.tobytes() for line in np.split(ids_t, ends) if len(line)]
