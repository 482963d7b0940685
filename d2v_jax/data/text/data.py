"""Text: blocks of token ids."""

import dataclasses
import logging
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

import numpy as np

from d2v_jax.common import fields
from d2v_jax.common.checks import UserError, require
from d2v_jax.data import modality
from d2v_jax.data.contests.contest import Contest
from d2v_jax.data.labelled import tables
from d2v_jax.data.labelled.labels import Labelled
from d2v_jax.data.opened import Form, Opened, joined
from d2v_jax.data.records import Record, Source
from d2v_jax.data.requests import Batch, Named
from d2v_jax.data.sources import PYTHON_DOCS, named, only_train
from d2v_jax.data.stores.prepared import looks_prepared
from d2v_jax.data.text import inputs, opening, rows
from d2v_jax.data.text.blocks import Blocks
from d2v_jax.data.text.corpus import tokenize
from d2v_jax.data.text.documents import Texts
from d2v_jax.data.text.pairs import parted
from d2v_jax.data.text.stored_ids import open_tokens
from d2v_jax.data.text.textfiles import TEXTS
from d2v_jax.data.text.tokenizer import (
    BYTES,
    Tokenizer,
    has_files,
    keep_files,
    open_tokenizer,
    require_room,
    tokenizer_of,
)

log = logging.getLogger("d2v")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextData(modality.Data):
    """`tokens` ids in a block, `<s>` in front, of `column` where records have several.

    `blocks`: "contiguous", whole "documents", or "pairs" of passages. `tokenizer` as in
    `text.tokenizer.open_tokenizer`; empty for that of prepared text.
    """

    modality = "text"
    shaping = ("tokenizer",)
    dtype = np.int32
    noun, nouns, files = TEXTS.noun, "documents", "text files"
    single_file = True
    suffixes, builtin = TEXTS.suffixes, (PYTHON_DOCS,)
    beside_others = True  # transcripts and lists lie beside sounds and pictures
    counted = ("tokens", 1)
    labelled = "--source builtin:python-docs"

    column: str = fields.anything()
    tokenizer: str = fields.anything()
    tokens: int = fields.positive()
    blocks: str = fields.one_of("contiguous", "documents", "pairs")
    words: bool = fields.anything()
    columns: tuple[str, ...] = fields.anything()
    label_column: str = fields.anything()
    buckets: tuple[int, ...] = fields.anything()
    most_tokens: int = fields.positive()

    @property
    def example_shape(self) -> tuple[int, ...]:
        """(tokens,)"""
        return (self.tokens,)

    @property
    def example_shapes(self) -> tuple[tuple[int, ...], ...]:
        """(ids,) of each length that labelled texts are padded to."""
        return tuple((length,) for length in self.lengths())

    def lengths(self) -> tuple[int, ...]:
        """What texts are padded to."""
        return self.buckets if self.labels != "none" and self.buckets else (self.tokens,)

    def batch_sizes(self, batch_size: int) -> tuple[int, ...]:
        """Of labelled texts no more than hold `most_tokens`."""
        if self.labels == "none":
            return (batch_size,)
        return tuple(
            max(1, min(batch_size, self.most_tokens // length)) for length in self.lengths()
        )

    def random_inputs(self, rng: np.random.Generator, shape: tuple[int, ...], frontend: Any):
        """Neither specials nor `<mask>`."""
        return rng.integers(rows.SPECIALS, frontend.mask_id, shape, np.int32)

    def rate(self, example_shape: tuple[int, ...]) -> tuple[str, float]:
        """Tokens."""
        return "tokens", example_shape[0]

    def check_with(self, frontend: Any, batch_size: int) -> None:
        del batch_size
        ours, most = self.tokens, frontend.max_tokens
        require(ours <= most, f"data.tokens={ours} exceeds frontend.max_tokens={most}")

    def check(self) -> None:
        super().check()
        require(
            self.labels == "none" or len(self.columns) in (1, 2),
            f"data.columns={self.columns} must name one column of texts, or two of pairs",
        )
        require(
            self.labels == "none" or self.blocks != "pairs",
            "data.blocks='pairs' makes labels itself: set data.labels='none'",
        )
        require(
            list(self.buckets) == sorted(set(self.buckets))
            and all(0 < length <= self.tokens for length in self.buckets),
            f"data.buckets={self.buckets} must be ascending numbers of tokens up to data.tokens="
            f"{self.tokens}",
        )

    def open(self) -> Opened:
        if self.labels != "none":
            return tables.opened_of(self)
        sources = [one.records() for one in self.each()]
        tokenizer = self.open_tokenizer()
        cut = rows.cutting(tokenizer.breaks[0] if self.words else None, tokenizer.ids)
        found = joined(sources, cut, ("text", self.tokens), self.tokens)
        return parted(found, tokenizer.ids) if self.blocks == "pairs" else found

    def form(self, example_shape: tuple[int, ...], size: int) -> dict[str, Form]:
        words = self.words and self.labels == "none"
        more = {"goes_on": Form((size, *example_shape), bool)} if words else {}
        if self.labels == "none" and self.blocks == "pairs":
            more["labels"] = Form((size,), np.int32)
        return super().form(example_shape, size) | more

    @classmethod
    def of_the_encoder(
        cls, ours: Mapping[str, Any], theirs: Mapping[str, Any], frontend: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Also no more tokens than its positions."""
        most = min(ours["tokens"], frontend["max_tokens"])
        lengths = tuple(length for length in ours["buckets"] if length < most)
        more = {"tokens": most, "buckets": (*lengths, most) if ours["buckets"] else ()}
        return {**super().of_the_encoder(ours, theirs, frontend), **more}

    def labelled_source(self) -> Source:
        return tables.source_of(self)

    def test_splits(self, source: str) -> tuple[str, ...]:
        return ("test",) if source == PYTHON_DOCS else ()

    def in_order(self) -> Iterator[Labelled]:
        """Cut where the model's positions end."""
        return tables.in_order_of(self)

    def records(self, blocks: str | None = None) -> Source:
        """The blocks of the only source, cut as `self.blocks` says or otherwise."""
        opened = self.open_tokenizer()
        cut = (self.source, self.tokens, blocks or self.blocks)
        if looks_prepared(named(self.source, TEXTS.sources)):
            only_train(self.source, self.split)
            return Blocks(open_tokens(self.source, self.tokenizer, opened), *cut)
        texts = self.documents()
        corpus = tokenize(texts.documents(), opened, texts.class_names)
        texts.check_faults(self.max_bad_share)
        return Blocks(corpus, *cut, texts.faults)

    def documents(self) -> Texts:
        """Those of the only source, which is not prepared."""
        return opening.open_documents(self.source, self.split, self.column)

    def open_tokenizer(self) -> Tokenizer:
        """The one of `tokenizer`, or of what is prepared. Raises `UserError`."""
        return tokenizer_of(self.tokenizer, self.source)

    def vocab_size(self) -> int:
        """Number of ids of the tokenizer, specials and `<mask>` included. Raises `UserError`."""
        return self.open_tokenizer().vocab_size

    def check_frontend(self, frontend: Any) -> None:
        """Raises unless the model has every id of the tokenizer, and one more to hide them with."""
        require_room(self.open_tokenizer(), self.tokenizer, frontend)

    def keep(self, folder: pathlib.Path, frontend: Any = None) -> None:
        """Copies the tokenizer's files, so that what is trained with it can be moved."""
        keep_files(self.open_tokenizer(), folder, frontend)

    def found_in(self, folder: pathlib.Path) -> Self:
        """A tokenizer in `folder` is that of the weights; prepared text may have been bytes."""
        if has_files(folder):
            return dataclasses.replace(self, tokenizer=str(folder.absolute()))
        return dataclasses.replace(self, tokenizer=self.tokenizer or BYTES)

    @classmethod
    def standalone(cls, job: str, given: Sequence[str]) -> Mapping[str, Any]:
        """Without a model any tokenizer does, but not where ids are stored."""
        require(
            "tokenizer" in given or job != "prepare",
            "d2v data prepare stores ids: say whose with --config.data.tokenizer=FOLDER, or bytes",
        )
        return {"tokenizer": BYTES}

    def cut_inputs(
        self, inputs_n: Any, frontend: Any, large: bool, standardise: bool = True
    ) -> Iterator[Batch]:
        """Texts, a list of strings or of id arrays [t]."""
        del standardise
        return inputs.cut(inputs_n, frontend, lambda: self._fitting(frontend), large)

    def _fitting(self, frontend: Any) -> Tokenizer:
        """The tokenizer. Raises `UserError` where the model lacks ids of it."""
        found = self.open_tokenizer()
        if found.vocab_size > frontend.vocab_size:
            raise UserError(
                f"data.tokenizer={self.tokenizer!r} has {found.vocab_size} ids, this encoder "
                f"{frontend.vocab_size}; use the tokenizer it was trained with"
            )
        return found

    def with_tokenizer(self, name: str | None, frontend: Any) -> Self:
        data = self if name is None else dataclasses.replace(self, tokenizer=name)
        try:
            ids = data._fitting(frontend).vocab_size
        except UserError as error:
            raise UserError(f"{error}. Here that is --tokenizer FOLDER") from None
        if ids < frontend.vocab_size:
            log.warning(
                "the tokenizer has %d ids, the model %d: was it trained with this tokenizer?",
                ids,
                frontend.vocab_size,
            )
        return data

    def inputs_of(self, path: pathlib.Path, frontend: Any, seconds: float) -> Named:
        del seconds
        return inputs.of_folder(path, self.tokenizer, frontend.max_tokens)

    def exam(self, frontend: Any, count: int, seed: int) -> Any:
        """Which document a passage is from, or which tag a word of a tagged sentence has."""
        from d2v_jax.data.labelled import tagged, texts

        tokenizer, ask = self._fitting(frontend), (self.tokens, count, seed)
        if tagged.is_tagged(self.source):
            return tagged.exam(self.source, tokenizer, *ask)
        called = (self.source, frontend.vocab_size)
        return texts.exam(self.records("documents"), *called, *ask, ids=tokenizer.ids)

    def look(self, sample: int | None) -> Any:
        """All documents, tokenised. Of prepared text only the ids are known, those of its own
        tokenizer; `sample` does not count.
        """
        from d2v_jax.data.inspect import texts

        if looks_prepared(self.source):
            own = dataclasses.replace(self, tokenizer="")
            corpus = open_tokens(self.source, "", own.open_tokenizer())
            return texts.look_at_ids(corpus, self.source, self.tokens)
        opened = self.open_tokenizer()
        cut = (self.source, self.tokens, self.tokenizer)
        return texts.look(self.documents(), opened, cut, sample)

    def prepare(
        self, out: pathlib.Path, workers: int, shard_mb: int, max_side: int | None
    ) -> dict[str, Any]:
        """Ids as the tokenizer makes them; tokenising takes all cores, whatever `workers`."""
        from d2v_jax.data.prepare import write_ids, write_shards

        del workers
        write_shards.no_pictures(self.source, max_side)
        opened = open_tokenizer(self.tokenizer)
        about = {"source": self.source, "split": self.split, "column": self.column}
        texts = write_ids.Written(self.documents(), self.tokenizer, opened, self.max_bad_share)
        return write_ids.write_tokens(texts, about, out, shard_mb)

    def train_tokenizer(self, out: pathlib.Path, vocab_size: int) -> str:
        from d2v_jax.data.text.train_tokenizer import train_tokenizer

        return train_tokenizer(self, out, vocab_size)

    def values(self, inputs: np.ndarray) -> int:
        """Tokens that are not padding."""
        return int((inputs != self.open_tokenizer().ids.pad).sum())

    def stored_values(self, record: Record, length: int) -> int:
        """Its ids."""
        del length
        return len(record.data)

    def contest(self, source: Source, records: Sequence[tuple[Record, int]]) -> Contest | None:
        from d2v_jax.data.contests import texts

        del records
        lines, name = texts.same_text(self.each()[0].source, self.split, self.column)
        return texts.contest(source, lines, name, self.open_tokenizer(), self.tokens)


Data = TextData
