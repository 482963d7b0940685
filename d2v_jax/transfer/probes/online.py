"""Probes on the way of pretraining: is anything learnt that somebody can use?"""

import logging
import time
from collections.abc import Callable

import numpy as np
from threadpoolctl import threadpool_limits

from d2v_jax.common.checks import UserError
from d2v_jax.common.trees import Tree
from d2v_jax.train.recipe.records import Config
from d2v_jax.transfer import encoder, reading
from d2v_jax.transfer.probes import exams
from d2v_jax.transfer.probes.probe import PROBES

log = logging.getLogger("d2v")

LAYER = "average"  # of the trunk's blocks: as wide as the model, whatever its depth


def probes(config: Config) -> Callable[[Tree, Tree], dict[str, float]]:
    """What `pretrain` calls every `eval.every` steps: trees -> {"eval/class/knn": ...}.

    The student's features, pooled, of `eval.examples` labelled examples of `eval.source`, and as
    many to test. Raises `UserError` at once where there are no labels.
    """
    source = config.eval.source or config.data.source
    count = config.eval.examples or config.data.examples
    try:
        exam = exams.prepare(config, source, count, config.seed)
    except UserError as error:
        raise UserError(
            f"eval.every={config.eval.every} probes features on labelled examples: {error}\n"
            f"  Name others: {config.data.labelled.replace('--source', '--config.eval.source=')}"
        ) from None
    for task in exam.tasks:
        train, test = task.labels
        log.info(
            "every %d steps: %s on %d %s to learn from and %d to test, %d classes",
            config.eval.every,
            task.name,
            len(train),
            task.noun,
            len(test),
            len(np.unique(train)),
        )

    def evaluate(params: Tree, carried: Tree) -> dict[str, float]:
        began = time.monotonic()
        loaded = reading.Loaded(config, dict(params), carried or None, None, 0, [])
        student = encoder.of(loaded)
        found = exam.features(lambda inputs, **how: student.features(inputs, LAYER, **how))
        numbers = {}
        with threadpool_limits(1):
            for task, (train, test) in zip(exam.tasks, found):
                for name, accuracy in PROBES.items():
                    numbers[f"eval/{task.name}/{name}"] = accuracy(
                        train, task.labels[0], test, task.labels[1]
                    )
        return {**numbers, "eval/seconds": time.monotonic() - began}

    return evaluate
