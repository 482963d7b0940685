"""How good are answers? The measures of the papers, by the libraries that everyone trusts."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import scipy.stats
import sklearn.metrics

from d2v_jax.common.checks import UserError

Measure = Callable[[np.ndarray, np.ndarray], float]  # (answers, truths) -> a number

BOOTSTRAPS = 1000
LEVEL = 0.95


def accuracy(logits_nc: np.ndarray, labels_n: np.ndarray) -> float:
    return float((logits_nc.argmax(-1) == labels_n).mean())


def top5(logits_nc: np.ndarray, labels_n: np.ndarray) -> float:
    best = np.argsort(-logits_nc, -1)[:, :5]
    return float((best == labels_n[:, None]).any(-1).mean())


def f1(logits_nc: np.ndarray, labels_n: np.ndarray) -> float:
    """Of class 1, as GLUE has it."""
    return float(sklearn.metrics.f1_score(labels_n, logits_nc.argmax(-1)))


def matthews(logits_nc: np.ndarray, labels_n: np.ndarray) -> float:
    return float(sklearn.metrics.matthews_corrcoef(labels_n, logits_nc.argmax(-1)))


def pearson(values_n1: np.ndarray, labels_n: np.ndarray) -> float:
    return float(scipy.stats.pearsonr(values_n1[:, 0], labels_n)[0])


def spearman(values_n1: np.ndarray, labels_n: np.ndarray) -> float:
    return float(scipy.stats.spearmanr(values_n1[:, 0], labels_n)[0])


def mean_average_precision(logits_nc: np.ndarray, labels_nc: np.ndarray) -> float:
    """Over the classes that occur (REFERENCE §12.5)."""
    there = labels_nc.any(0)
    return float(sklearn.metrics.average_precision_score(labels_nc[:, there], logits_nc[:, there]))


MEASURES: dict[str, Measure] = {
    "accuracy": accuracy,
    "top5": top5,
    "f1": f1,
    "matthews": matthews,
    "pearson": pearson,
    "spearman": spearman,
    "mAP": mean_average_precision,
}
OF_LABELS = {"class": ("accuracy",), "value": ("pearson", "spearman"), "tags": ("mAP",)}


def interval(
    measure: Callable[..., float], columns: Sequence[np.ndarray], seed: int = 0
) -> tuple[float, float]:
    """95 % by the percentile bootstrap over examples; `measure` takes `columns`, [n, ...] each."""
    rng = np.random.Generator(np.random.Philox(seed))
    count = len(columns[0])
    drawn = []
    for _ in range(BOOTSTRAPS):
        rows = rng.integers(count, size=count)
        drawn.append(measure(*(column[rows] for column in columns)))
    low, high = np.nanquantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def named(names: Sequence[str]) -> Mapping[str, Measure]:
    """The measures of these names. Raises `UserError` for one that does not exist."""
    for name in names:
        if name not in MEASURES:
            raise UserError(f"metric {name!r} is not one of {', '.join(MEASURES)}")
    return {name: MEASURES[name] for name in names}


def of_labels(kind: str) -> Mapping[str, Any]:
    """The measures of answers to labels of this kind (`data.labels`)."""
    return named(OF_LABELS[kind])
