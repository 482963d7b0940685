"""GLUE's eight tasks with the settings of the papers (REFERENCE §12.4).

Papers: arXiv:2202.03555 and arXiv:2212.07525. The argument is a task, as in "rte", with the rates
of 1.0; "rte_v2" has those of 2.0. A model fine-tuned on MNLI is a checkpoint as others are: give it
as init_from to start RTE, MRPC and STS-B from there.
Command: d2v finetune --config finetune_glue:rte --workdir RUN --config.init_from=CHECKPOINT
    --config.data.source=RTE/train.tsv --config.eval.source=RTE/dev.tsv
Cost: not measured; minutes to a few hours on one accelerator.
Expected: REFERENCE §13, an average of 82.7 for 1.0. Not yet run here.
"""

from typing import NamedTuple

from d2v_jax.configs import supervised
from d2v_jax.configs.finetune_text import of_text
from ml_collections import config_dict


class Task(NamedTuple):
    """A row of REFERENCE §12.4, and where its files have what; `rates`: of 1.0 and 2.0."""

    columns: tuple[str, ...]
    label: str
    batch: int
    steps: int
    warmup: int
    rates: tuple[float, float]
    metrics: tuple[str, ...] = ("accuracy",)


TASKS = {
    "cola": Task(("3",), "1", 16, 5_336, 320, (1e-5, 2e-5), ("matthews",)),
    "sst2": Task(("sentence",), "label", 32, 20_935, 1_256, (1e-5, 2e-5)),
    "mrpc": Task(
        ("#1 String", "#2 String"), "Quality", 16, 2_296, 137, (1e-5, 2e-5), ("accuracy", "f1")
    ),
    "stsb": Task(
        ("sentence1", "sentence2"), "score", 16, 3_598, 214, (2e-5, 4e-5), ("pearson", "spearman")
    ),
    "qqp": Task(
        ("question1", "question2"),
        "is_duplicate",
        32,
        113_272,
        28_318,
        (1e-5, 2e-5),
        ("accuracy", "f1"),
    ),
    "mnli": Task(("sentence1", "sentence2"), "gold_label", 32, 123_873, 7_432, (1e-5, 2e-5)),
    "qnli": Task(("question", "sentence"), "label", 32, 33_112, 1_986, (1e-5, 2e-5)),
    "rte": Task(("sentence1", "sentence2"), "label", 16, 2_036, 122, (2e-5, 2e-5)),
}


def get_config(arg: str = "") -> config_dict.ConfigDict:
    """`arg`: a task, with "_v2" behind it for the rates of 2.0."""
    name = arg.removesuffix("_v2") or "rte"
    if name not in TASKS:
        raise ValueError(f"finetune_glue has no task {name!r}; there are {', '.join(TASKS)}")
    task = TASKS[name]
    c = of_text(f"finetune_glue:{arg or name}")
    c.data.columns, c.data.label_column = task.columns, task.label
    c.data.buckets = (32, 64, 128, 256, 512)
    if name == "stsb":
        c.objective, c.data.labels = "regress", "value"
    # Of 1.0 the model has dropout but in front of its head; 2.0 keeps its own.
    if not arg.endswith("_v2"):
        c.trunk.dropout = c.trunk.attention_dropout = 0.1
    c.optimizer.learning_rate = task.rates[arg.endswith("_v2")]
    c.optimizer.warmup_steps = task.warmup
    c.train.steps, c.train.batch_size = task.steps, task.batch
    c.eval.metrics, c.eval.examples = task.metrics, 0
    c.train.keep_best, c.train.best_metric = 1, f"-eval/{task.metrics[0]}"
    return supervised.variant(c, "")
