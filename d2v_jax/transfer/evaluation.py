"""What a fine-tuned model makes of examples it has not learnt from, as numbers with intervals."""

import dataclasses
import itertools
import logging
import pathlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from d2v_jax.common.checks import UserError
from d2v_jax.common.trees import Tree
from d2v_jax.data.labelled.labels import Labelled
from d2v_jax.data.progress import logged
from d2v_jax.train.recipe.records import Config
from d2v_jax.transfer import encoder, finetune, reading, results, scores
from d2v_jax.transfer.encoder import Encoder

log = logging.getLogger("d2v")

AT_ONCE = 1024  # examples read before they are encoded


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


def measured(config: Config, found: Answers, with_intervals: bool = False) -> dict[str, Any]:
    """Each measure of the recipe's labels; with intervals [low, high] as "NAME interval"."""
    logits_nc = np.stack(found.logits)
    labels = np.stack([np.asarray(label) for label in found.labels])
    numbers: dict[str, Any] = {}
    chosen = config.eval.metrics or scores.OF_LABELS[config.data.labels]
    for name, measure in scores.named(chosen).items():
        numbers[name] = measure(logits_nc, labels)
        if with_intervals:
            numbers[f"{name} interval"] = scores.interval(measure, (logits_nc, labels))
    return numbers


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
    log.info("evaluating on %d examples of %s", len(examples), tested.data.source)

    def evaluate(params: Tree, carried: Tree) -> dict[str, float]:
        model = _model(tested, params, 0)
        found = measured(tested, answers(model, iter(examples)))
        return {f"eval/{name}": value for name, value in found.items()}

    return evaluate


def _model(config: Config, params: Tree, step: int) -> Encoder:
    loaded = reading.Loaded(config, dict(params), None, None, step, [])
    return encoder.of(reading.with_head(loaded))


def evaluate_run(
    path: pathlib.Path, source: str | None, split: str | None, examples: int, metrics: str | None
) -> str:
    """Tests a fine-tuned model and returns a table; a run keeps the record in `results/`."""
    loaded = reading.read(path)
    config = loaded.recipe
    if not config.objective.own_head:
        raise UserError(
            f"{path} was not fine-tuned by d2v finetune, so it answers nothing that could be "
            "tested; d2v probe tests features"
        )
    wanted = {name: value for name, value in (("source", source), ("split", split)) if value}
    if metrics:
        wanted["metrics"] = tuple(metrics.split(","))
    config = dataclasses.replace(config, eval=dataclasses.replace(config.eval, **wanted))
    tested = finetune.tested(config)
    model = _model(tested, loaded.params, loaded.step)
    reading_on = logged(tested.data.in_order(), f"evaluating on {tested.data.source}")
    found = answers(model, reading_on, examples)
    numbers = measured(tested, found, with_intervals=True)
    record = results.record(tested, loaded, config.objective_name, len(found.names), numbers)
    results.keep(path, record)
    return results.table([record])
