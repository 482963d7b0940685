"""Is there anything in the features? kNN and a linear probe beside baselines that must lose."""

import copy
import functools
import json
import logging
import pathlib
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from threadpoolctl import threadpool_limits

from d2v_jax.common import files
from d2v_jax.common.checks import UserError
from d2v_jax.data.labelled.exams import Exam
from d2v_jax.train import checkpoint
from d2v_jax.transfer import encoder
from d2v_jax.transfer.probes import exams, large

log = logging.getLogger("d2v")

NEIGHBOURS = 20
SEARCH = "search"  # as `layer`: each block is tried
HELD_OUT = 5  # every so many-th example to learn from decides between blocks
SMALL = 10_000  # examples to learn from, up to which scikit-learn is fast
FILE = "probe.json"


def linear_accuracy(train: np.ndarray, labels: np.ndarray, test: np.ndarray, truth) -> float:
    """Accuracy of multinomial logistic regression on standardised features."""
    if len(train) > SMALL:
        return large.linear_accuracy(train, labels, test, truth)
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return float(classifier.fit(train, labels).score(test, truth))


def knn_accuracy(train: np.ndarray, labels: np.ndarray, test: np.ndarray, truth) -> float:
    """Accuracy of the 20 nearest neighbours by cosine similarity."""
    if len(train) > SMALL:
        return large.knn_accuracy(train, labels, test, truth, NEIGHBOURS)
    neighbours = min(NEIGHBOURS, len(train))
    classifier = make_pipeline(Normalizer(), KNeighborsClassifier(neighbours))
    return float(classifier.fit(train, labels).score(test, truth))


PROBES = {"linear": linear_accuracy, "knn": knn_accuracy}


def probe_run(
    path: pathlib.Path, source: str | None, examples: int | None, layer: str, seed: int = 0
) -> str:
    """Probes any checkpoint and returns the tables; a run keeps them as `probe.json`.

    `examples`: at most so many of each task to learn from, and as many to test; None: 4000
    images, 2000 of anything else. `layer`: as `Encoder.features` has it, or "search": the block
    whose features are best on a fifth of the examples to learn from. Raises `UserError` where
    `source`, by default what the model was trained on, has no labels.
    """
    if examples is not None and examples < 2:
        raise UserError(f"--examples {examples}: a probe needs at least 2 per split")
    trained = encoder.load(path)
    examples = examples or trained.recipe.data.examples
    if layer != SEARCH:
        encoder.parse_layer(layer, trained.config.trunk.depth)
    used = source or trained.recipe.data.source
    log.info("reading labelled examples from %s", used)
    try:
        exam = exams.prepare(trained.recipe, used, examples, seed)
    except UserError as error:
        if source is not None:
            raise
        others = trained.recipe.data.labelled
        raise UserError(f"{error}\n  Or probe on others: {others}") from None
    for task in exam.tasks:
        if len(np.unique(task.labels[0])) < 2:
            raise UserError(f"{used} has only one class; a probe needs at least two")
    scores, blocks = _scores(exam, trained, layer, seed)
    tasks = {}
    for task in exam.tasks:
        train, test = task.labels
        tasks[task.name] = {
            **scores[task.name],
            **({"blocks": blocks[task.name]} if layer == SEARCH else {}),
            "classes": len(np.unique(train)),
            "noun": task.noun,
            "train": len(train),
            "test": len(test),
        }
    first = tasks[exam.tasks[0].name]
    record = {
        **{name: first[name] for name in PROBES},
        "tasks": tasks,
        "step": trained.step,
        "source": used,
        "layer": layer,
        "seed": seed,
    }
    if (path / checkpoint.FOLDER).is_dir():
        files.keep_if_possible(path / FILE, f"{json.dumps(record, indent=2)}\n", "table")
    else:
        log.info("%s is no run folder: the table is not kept", path)
    return table(record)


Scores = dict[str, dict[str, dict[str, Any]]]  # by task, probe and kind of features


def _scores(exam: Exam, trained: encoder.Encoder, layer: str, seed: int) -> tuple[Scores, Scores]:
    """Accuracies, and of a search the accuracy of every block on what is held out for it."""
    scores: Scores = {task.name: {probe: {} for probe in PROBES} for task in exam.tasks}
    blocks: Scores = copy.deepcopy(scores)
    entrants = {exam.baseline: None, "random": trained.untrained(seed), "student": trained}
    if trained.teacher is not None:
        entrants["teacher"] = trained.as_teacher()
    taken = "all" if layer == SEARCH else layer
    for entrant, one in entrants.items():
        began = time.monotonic()
        encode = None if one is None else functools.partial(one.features, layer=taken)
        found = exam.features(encode)
        searched = layer == SEARCH and one is not None
        # Small matrices: a second BLAS thread costs up to 20 times what it saves.
        with threadpool_limits(1):
            for task, sides in zip(exam.tasks, found):
                for name, accuracy in PROBES.items():
                    used = sides
                    if searched:
                        parts = [np.split(x_nd, trained.config.trunk.depth, 1) for x_nd in sides]
                        tried = [_held_out(accuracy, x_nd, task.labels[0]) for x_nd in parts[0]]
                        blocks[task.name][name][entrant] = tried
                        used = [part[int(np.argmax(tried))] for part in parts]
                    scores[task.name][name][entrant] = accuracy(
                        used[0], task.labels[0], used[1], task.labels[1]
                    )
        log.info("probed %s in %.0f s", entrant, time.monotonic() - began)
    return scores, blocks


def _held_out(accuracy: Callable[..., float], x_nd: np.ndarray, labels_n: np.ndarray) -> float:
    """Accuracy on every fifth example of a probe that learnt from the others."""
    out_n = np.arange(len(x_nd)) % HELD_OUT == 0
    return accuracy(x_nd[~out_n], labels_n[~out_n], x_nd[out_n], labels_n[out_n])


def table(record: dict) -> str:
    """The scores as text: for each task a row per probe, a column per kind of features."""
    lines = [f"{record['source']}, layer {record['layer']}, step {record['step']}"]
    for name, task in record["tasks"].items():
        entrants = list(task["linear"])
        lines += [
            "",
            f"{name}: {task['classes']} classes, {task['train']} {task['noun']} to learn from, "
            f"{task['test']} to test",
            "accuracy".ljust(10) + "".join(entrant.rjust(10) for entrant in entrants),
        ]
        for probe in PROBES:
            cells = "".join(f"{task[probe][entrant]:.3f}".rjust(10) for entrant in entrants)
            lines.append(probe.ljust(10) + cells)
            if tried := task.get("blocks", {}).get(probe):
                best = {entrant: int(np.argmax(of_block)) for entrant, of_block in tried.items()}
                cells = "".join(str(best.get(entrant, "")).rjust(10) for entrant in entrants)
                lines.append("  block".ljust(10) + cells)
    return "\n".join(lines)
