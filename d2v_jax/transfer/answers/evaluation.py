"""What a model with a head makes of examples it has not learnt from, as numbers with intervals."""

import dataclasses
import itertools
import logging
import pathlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from d2v_jax.common.checks import UserError
from d2v_jax.common.trees import Tree
from d2v_jax.data.labelled.labels import Labelled
from d2v_jax.data.progress import logged
from d2v_jax.train.recipe.records import Config
from d2v_jax.transfer import encoder, finetune, reading
from d2v_jax.transfer.answers import recognition, results, scores
from d2v_jax.transfer.answers.recognition import Reader
from d2v_jax.transfer.encoder import Encoder

log = logging.getLogger("d2v")

GREEDY = recognition.SearchOptions()
AT_ONCE = 1024  # examples read before they are encoded
WORST = 10  # utterances shown
# What is asked, and which labels of the data answer it.
TASKS = {"asr": "letters", "classes": "class", "values": "value", "tags": "tags"}


class Answers(NamedTuple):
    """Of n examples: their names, what the head says of each, and what is true."""

    names: list[str]
    logits: list[np.ndarray]
    labels: list[Any]


def answers(model: Encoder, examples: Iterator[Labelled], most: int = 0) -> Answers:
    """At most so many; 0: all."""
    found = Answers([], [], [])
    chosen = itertools.islice(examples, most or None)
    while part := list(itertools.islice(chosen, AT_ONCE)):
        found.logits.extend(model.logits([one.inputs for one in part], standardise=False))
        found.names.extend(one.name for one in part)
        found.labels.extend(one.label for one in part)
    if not found.names:
        raise UserError(f"{model.recipe.data.source!r}: there is no readable example to test on")
    return found


class Measured(NamedTuple):
    """Numbers by name, each with [low, high] or None, and lines that say more."""

    numbers: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    lines: list[str]


def measured(
    config: Config, found: Answers, reader: Reader | None = None, whole: bool = False
) -> Measured:
    """The measures of the recipe's labels; with intervals and more to read where `whole`.

    `reader`: of letters.
    """
    if config.data.labels == "letters":
        return _heard(found, reader, whole)
    logits_nc = np.stack(found.logits)
    labels = np.stack([np.asarray(label) for label in found.labels])
    chosen = scores.named(config.eval.metrics or scores.OF_LABELS[config.data.labels])
    numbers = {name: measure(logits_nc, labels) for name, measure in chosen.items()}
    intervals = {}
    if whole:
        columns = (logits_nc, labels)
        intervals = {name: scores.interval(one, columns) for name, one in chosen.items()}
    return Measured(numbers, intervals, [])


def _heard(found: Answers, reader: Reader, whole: bool) -> Measured:
    heard = [reader.text(logits_tc) for logits_tc in found.logits]
    errors = [recognition.errors(said, text) for said, text in zip(found.labels, heard)]
    numbers, intervals = {}, {}
    for name, columns_of in recognition.MEASURES.items():
        columns = columns_of(errors)
        numbers[name] = recognition.rate(*columns)
        if whole:
            intervals[name] = scores.interval(recognition.rate, columns)
    lines = []
    if whole:
        lines = [*_speakers(found.names, errors), "", *_worst(found, heard, errors)]
    return Measured(numbers, intervals, lines)


def _speakers(names: list[str], errors: list[recognition.Errors]) -> list[str]:
    """Word error rates by the folder that recordings lie in, as LibriSpeech has its speakers."""
    groups: dict[str, list[recognition.Errors]] = defaultdict(list)
    for name, one in zip(names, errors):
        groups[name.split("/")[0] if "/" in name else "-"].append(one)
    if len(groups) < 2:
        return []
    lines = ["speaker            utterances  words    wer"]
    for speaker, ones in sorted(groups.items()):
        wrong, words = recognition.MEASURES["wer"](ones)
        rate = recognition.rate(wrong, words)
        lines.append(f"{speaker:18} {len(ones):10,} {words.sum():6,}  {rate:.4f}")
    return lines


def _worst(found: Answers, heard: list[str], errors: list[recognition.Errors]) -> list[str]:
    order = sorted(range(len(errors)), key=lambda i: -errors[i].word_errors)[:WORST]
    lines = ["the utterances with the most wrong words"]
    for i in order:
        lines += [
            f"{found.names[i]}: {errors[i].word_errors} of {errors[i].words}",
            f"    said   {found.labels[i]}",
            f"    heard  {heard[i]}",
        ]
    return lines


def online(config: Config) -> Callable[[Tree, Tree], dict[str, float]]:
    """What `pretrain` calls every `eval.every` steps: trees -> {"eval/accuracy": ...}.

    Raises `UserError` at once where there is nothing to test on.
    """
    tested = finetune.tested(config)
    examples = list(
        itertools.islice(
            logged(tested.data.in_order(), f"reading {tested.data.source}"),
            config.eval.examples or None,
        )
    )
    if not examples:
        raise UserError(f"{tested.data.source!r}: there is no readable example to test on")
    log.info(
        "evaluating on %d examples of %s %s",
        len(examples),
        tested.data.source,
        tested.data.split,
    )

    def evaluate(params: Tree, carried: Tree) -> dict[str, float]:
        del carried
        model = encoder.of(
            reading.with_head(reading.Loaded(tested, dict(params), None, None, 0, []))
        )
        reader = GREEDY.reader(model.head) if _letters(tested) else None
        found = measured(tested, answers(model, iter(examples)), reader)
        return {f"eval/{name}": value for name, value in found.numbers.items()}

    return evaluate


def _letters(config: Config) -> bool:
    return config.data.labels == "letters"


@dataclasses.dataclass(frozen=True)
class Asked:
    """What `d2v evaluate` is about; None: as the recipe says."""

    task: str
    source: str | None = None
    split: str | None = None
    examples: int = 0  # at most; 0: all
    metrics: tuple[str, ...] = ()


def evaluate_run(
    path: pathlib.Path, asked: Asked, search: recognition.SearchOptions = GREEDY
) -> str:
    """Tests a model with a head and returns tables; a run keeps the record in `results/`.

    `search`: how letters become words. Raises `UserError` where the
    checkpoint has no head for the task, or there is nothing to test on.
    """
    model = encoder.load(path)
    if model.head is None:
        raise UserError(
            f"{path} has no head, so it answers nothing that could be tested; d2v finetune trains "
            "one, and d2v probe tests features"
        )
    tested = _tested(model, asked)
    recipe = dataclasses.replace(model.recipe, data=tested.data)
    answering = dataclasses.replace(model, recipe=recipe)
    reader = None
    if _letters(tested):
        reader = search.reader(model.head)
    examples = logged(tested.data.in_order(), f"evaluating on {tested.data.source}")
    found = answers(answering, examples, asked.examples)
    one = measured(tested, found, reader, whole=True)
    record = results.record(tested, model, asked.task, len(found.names), one)
    results.keep(path, record)
    return "\n".join([results.table([record]), *(["", *one.lines] if one.lines else [])])


def _tested(model: Encoder, asked: Asked) -> Config:
    """The recipe whose data are those to test on, labelled as the task needs them."""
    config, labels = model.recipe, TASKS[asked.task]
    wanted = {name: x for name in ("source", "split", "metrics") if (x := getattr(asked, name))}
    config = dataclasses.replace(config, eval=dataclasses.replace(config.eval, **wanted))
    head = model.head or {}
    if (head["kind"] == "ctc") != (labels == "letters"):
        raise UserError(
            f"the checkpoint has a head of kind {head['kind']!r}, which is not for "
            f"{asked.task!r}; tasks are {', '.join(TASKS)}"
        )
    if config.data.labels != labels:
        if config.data.labels != "none":
            raise UserError(
                f"the model was fine-tuned for {config.data.labels!r}, not for {asked.task!r}"
            )
        names = tuple(head.get("labels") or ())
        config = dataclasses.replace(
            config,
            data=dataclasses.replace(config.data, labels=labels, label_names=names),
            # Nothing of these was learnt from.
            eval=dataclasses.replace(config.eval, source=config.eval.source or config.data.source),
        )
    return finetune.tested(config)
