"""RoBERTa large (arXiv:1907.11692).

Command: d2v pretrain --config roberta_large --workdir runs/roberta_large
    (data: --config.data.source=FOLDER of text files, --config.data.tokenizer=FOLDER of a GPT-2
    vocabulary)
Cost: not measured; about 1.03 TFLOP per example and step by the FLOP count, so 4.2e21 FLOP
    for the whole schedule.
Expected: MNLI 90.2, SST-2 96.4 (released weights). Not yet run here.
"""

from d2v_jax.configs import bert
from ml_collections import config_dict


def get_config(arg: str = "") -> config_dict.ConfigDict:
    """`arg`: "" for the recipe, "smoke" for thirty tiny steps, "budget" for few devices."""
    c = bert.large(bert.roberta())
    c.recipe = "roberta_large"
    c.optimizer.learning_rate, c.optimizer.warmup_steps = 4e-4, 30_000
    return bert.variant(c, arg, shrink=32)
