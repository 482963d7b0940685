"""Is there anything in the features? kNN and a linear probe beside baselines that must lose."""

import functools
import json
import logging
import pathlib
import time
import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from threadpoolctl import threadpool_limits

from d2v_jax.common.checks import UserError
from d2v_jax.common.files import write_whole
from d2v_jax.data.labelled.exams import Exam
from d2v_jax.train import checkpoint
from d2v_jax.transfer import encoder
from d2v_jax.transfer.probes import exams, large

log = logging.getLogger("d2v")

NEIGHBOURS = 20
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
    images, 2000 of anything else. Raises `UserError` where `source`, by default what the model
    was trained on, has no labels.
    """
    if examples is not None and examples < 2:
        raise UserError(f"--examples {examples}: a probe needs at least 2 per split")
    trained = encoder.load(path)
    examples = examples or trained.recipe.data.examples
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
    scores = _scores(exam, trained, layer, seed)
    tasks = {}
    for task in exam.tasks:
        train, test = task.labels
        tasks[task.name] = {
            **scores[task.name],
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
        write_whole(path / FILE, f"{json.dumps(record, indent=2)}\n".encode())
    else:
        log.info("%s is no run folder: the table is not kept", path)
    return table(record)


def _scores(
    exam: Exam, trained: encoder.Encoder, layer: str, seed: int
) -> dict[str, dict[str, dict[str, float]]]:
    """Accuracies by task, probe and kind of features."""
    scores = {task.name: {probe: {} for probe in PROBES} for task in exam.tasks}
    entrants = {exam.baseline: None, "random": trained.untrained(seed), "student": trained}
    if trained.teacher is not None:
        entrants["teacher"] = trained.as_teacher()
    for entrant, one in entrants.items():
        began = time.monotonic()
        encode = None if one is None else functools.partial(one.features, layer=layer)
        found = exam.features(encode)
        # Small matrices: a second BLAS thread costs up to 20 times what it saves.
        with threadpool_limits(1):
            for task, (train, test) in zip(exam.tasks, found):
                for name, accuracy in PROBES.items():
                    scores[task.name][name][entrant] = accuracy(
                        train, task.labels[0], test, task.labels[1]
                    )
        log.info("probed %s in %.0f s", entrant, time.monotonic() - began)
    return scores


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
    return "\n".join(lines)
