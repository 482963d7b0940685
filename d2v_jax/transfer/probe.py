"""Is there anything in the features? kNN and a linear probe beside baselines that must lose."""

import dataclasses
import json
import logging
import os
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
from d2v_jax.data.config import ImageData
from d2v_jax.data.labelled import LabelledImages, labelled_images
from d2v_jax.train import checkpoint
from d2v_jax.transfer import encoder

log = logging.getLogger("d2v")

NEIGHBOURS = 20
FILE = "probe.json"


def linear_accuracy(train: np.ndarray, labels: np.ndarray, test: np.ndarray, truth) -> float:
    """Accuracy of multinomial logistic regression on standardised features."""
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return float(classifier.fit(train, labels).score(test, truth))


def knn_accuracy(train: np.ndarray, labels: np.ndarray, test: np.ndarray, truth) -> float:
    """Accuracy of the 20 nearest neighbours by cosine similarity."""
    neighbours = min(NEIGHBOURS, len(train))
    classifier = make_pipeline(Normalizer(), KNeighborsClassifier(neighbours))
    return float(classifier.fit(train, labels).score(test, truth))


PROBES = {"linear": linear_accuracy, "knn": knn_accuracy}


def probe_run(
    path: pathlib.Path, source: str | None, examples: int, layer: str, seed: int = 0
) -> str:
    """Probes any checkpoint of images and returns the table; a run keeps it as `probe.json`."""
    if examples < 2:
        raise UserError(f"--examples {examples}: a probe needs at least 2 images per split")
    trained = encoder.load(path)
    if not isinstance(trained.recipe.data, ImageData):
        raise UserError(
            f"{path} is a model of {trained.config.modality}; so far only models of images can "
            f"be probed. Its features: d2v features {path} INPUT --out F.npz"
        )
    encoder.parse_layer(layer, trained.config.trunk.depth)
    data = dataclasses.replace(trained.recipe.data, source=source or trained.recipe.data.source)
    log.info("reading labelled images from %s", data.source)
    try:
        train = labelled_images(data, "train", examples, seed)
        test = labelled_images(data, "test", examples, seed)
    except UserError as error:
        if source is not None:
            raise
        raise UserError(
            f"{error}\n  Or probe on others: --source builtin:photos, or a folder with one "
            "sub-folder per class"
        ) from None
    classes = len(np.unique(train.labels))
    if classes < 2:
        raise UserError(f"{data.source} has only one class; a probe needs at least two")

    entrants = {
        "pixels": None,
        "random": trained.untrained(seed),
        "student": trained,
        "teacher": trained.as_teacher() if trained.teacher else None,
    }
    scores: dict[str, dict[str, float]] = {name: {} for name in PROBES}
    for entrant, one in entrants.items():
        if entrant == "teacher" and one is None:
            continue
        began = time.monotonic()
        x_train, x_test = _features(one, train, layer), _features(one, test, layer)
        # Small matrices: a second BLAS thread costs up to 20 times what it saves.
        with threadpool_limits(1):
            for name, accuracy in PROBES.items():
                scores[name][entrant] = accuracy(x_train, train.labels, x_test, test.labels)
        log.info("probed %s in %.0f s", entrant, time.monotonic() - began)

    record = {
        **scores,
        "step": trained.step, "source": data.source, "classes": classes, "layer": layer,
        "train_images": len(train.labels), "test_images": len(test.labels), "seed": seed,
    }  # fmt: skip
    if (path / checkpoint.FOLDER).is_dir():
        scratch = path / f"{FILE}.tmp"
        scratch.write_text(json.dumps(record, indent=2) + "\n")
        os.replace(scratch, path / FILE)
    else:
        log.info("%s is no run folder: the table is not kept", path)
    return table(record)


def _features(one: encoder.Encoder | None, data: LabelledImages, layer: str) -> np.ndarray:
    if one is None:
        return data.images.reshape(len(data.images), -1).astype(np.float32) / 255
    return one.features(data.images, layer)


def table(record: dict) -> str:
    """The scores as text: a row per probe, a column per kind of features."""
    entrants = list(record["linear"])
    lines = [
        f"{record['source']}, {record['classes']} classes, {record['train_images']} images to "
        f"learn from, {record['test_images']} to test, step {record['step']}",
        "accuracy".ljust(10) + "".join(name.rjust(10) for name in entrants),
    ]
    for name in PROBES:
        cells = "".join(f"{record[name][entrant]:.3f}".rjust(10) for entrant in entrants)
        lines.append(name.ljust(10) + cells)
    return "\n".join(lines)
