"""Looking at texts."""

import dataclasses
import hashlib

import numpy as np

from d2v_jax.data.blocks import Blocks
from d2v_jax.data.config import TextData
from d2v_jax.data.corpus import tokenize
from d2v_jax.data.documents import whole
from d2v_jax.data.findings import Findings, chosen, spread
from d2v_jax.data.prepared import looks_prepared
from d2v_jax.data.sources import open_documents
from d2v_jax.data.text import UNK
from d2v_jax.data.tokenizer import tokenizer_of
from d2v_jax.data.tokens import open_tokens

LONGEST = 5
CHUNK = 1 << 20  # ids looked at together


def look(cfg: TextData, sample: int | None) -> Findings:
    """All documents, tokenised by `cfg.tokenizer`; of prepared text only the ids are known."""
    tokenizer = tokenizer_of(cfg)
    found = Findings(cfg.source, "", 0, 0)
    if looks_prepared(cfg.source):
        corpus = open_tokens(cfg, tokenizer)
    else:
        texts = open_documents(cfg)
        documents = whole(texts.documents())
        if sample is not None:
            documents = list(documents)
            documents = [documents[number] for number in chosen(len(documents), sample)]
        corpus = tokenize(_noted(documents, found), tokenizer, texts.class_names)
        found.bad.update(texts.faults)
    found.fingerprint = corpus.fingerprint
    found.records = found.looked_at = len(corpus.starts)
    _summarise(found, corpus, cfg)
    return found


def _noted(documents, found: Findings):
    """Passes documents on; counts and compares them and their lines."""
    first: dict[bytes, str] = {}
    lines: set[bytes] = set()
    found.numbers = {"lines": 0, "characters": 0, "repeated_lines": 0}
    for document in documents:
        if not document.lines:
            continue
        digest = _digest("\n".join(document.lines))
        if digest in first:
            found.duplicates[document.name] = first[digest]
        first.setdefault(digest, document.name)
        found.numbers["lines"] += len(document.lines)
        found.numbers["characters"] += sum(map(len, document.lines))
        for line in document.lines:
            digest = _digest(line)
            found.numbers["repeated_lines"] += digest in lines
            lines.add(digest)
        yield document


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(errors="replace"), digest_size=12).digest()


def _summarise(found: Findings, corpus, cfg: TextData) -> None:
    tokens_n = np.asarray(corpus.ends) - np.asarray(corpus.starts)
    unknown = sum(
        int((corpus.tokens[first : first + CHUNK] == UNK).sum())
        for first in range(0, len(corpus.tokens), CHUNK)
    )
    found.numbers |= {"documents": len(tokens_n), "tokens": len(corpus.tokens), "unknown": unknown}
    found.facts = {"documents": f"{len(tokens_n):,}"}
    if "lines" in found.numbers:
        lines, again = found.numbers["lines"], found.numbers["repeated_lines"]
        found.facts |= {
            "lines": f"{lines:,}, {again:,} of them occurred before",
            "characters": f"{found.numbers['characters']:,}",
        }
    found.facts |= {
        "tokens": f"{len(corpus.tokens):,} of {cfg.tokenizer or 'its tokenizer'}",
        "<unk>": f"{unknown:,}",
        "tokens of a document": f"{spread(tokens_n)} (least / median / most)",
    }
    for kind in ("contiguous", "documents"):
        room = dataclasses.replace(cfg, blocks=kind)
        count = len(Blocks(corpus, room)) if len(corpus.tokens) >= cfg.tokens else 0
        found.numbers[f"blocks_{kind}"] = count
        found.facts[f"blocks of {cfg.tokens}"] = (
            f"{found.numbers['blocks_contiguous']:,} contiguous, {count:,} of whole documents"
        )
    longest = np.argsort(-tokens_n, kind="stable")[:LONGEST]
    found.facts["longest"] = ", ".join(f"{corpus.names[n]} ({tokens_n[n]:,})" for n in longest)
    found.histograms = {"tokens of a document": tokens_n}
    if corpus.labels is not None and corpus.class_names:
        counts = np.bincount(corpus.labels[corpus.labels >= 0], minlength=0)
        found.classes = {corpus.class_names[n]: int(c) for n, c in enumerate(counts) if c}
        if len(found.classes) == len(tokens_n):  # every document is a class: says nothing
            found.classes = {}
