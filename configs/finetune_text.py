"""Any labelled texts or pairs of texts: a table with a column of text and one of labels.

Paper: the settings of data2vec on GLUE (arXiv:2202.03555; REFERENCE §12.4), for small data.
Command: d2v finetune --config finetune_text --workdir RUN --config.init_from=CHECKPOINT
    --config.data.source=TRAIN.tsv --config.eval.source=DEV.tsv
Cost: that of about three pretraining steps of version 1.0 for each update.
Expected: depends on the data; benchmarks/downstream.py compares it with an untrained encoder.
"""

from d2v_jax.configs import supervised, text
from ml_collections import config_dict


def get_config(arg: str = "") -> config_dict.ConfigDict:
    """`arg`: "" for the recipe, "smoke" for thirty tiny steps."""
    return supervised.variant(of_text("finetune_text"), arg)


def of_text(recipe: str) -> config_dict.ConfigDict:
    """What all recipes with labelled texts have in common."""
    c = supervised.get_config(text)
    c.recipe = recipe
    c.data.labels = "class"
    c.data.buckets = (32, 64, 128, 256)
    c.head.kind, c.head.init = "text_classes", "torch"
    c.optimizer.learning_rate, c.optimizer.schedule = 2e-5, "linear"
    c.optimizer.b2, c.optimizer.eps, c.optimizer.weight_decay = 0.98, 1e-6, 0.1
    c.optimizer.warmup_steps = 120
    c.train.steps, c.train.batch_size = 2_000, 16
    c.train.log_every, c.train.checkpoint_every = 20, 500
    c.eval.every = 500
    return c
