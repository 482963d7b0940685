"""RoBERTa base (arXiv:1907.11692).

Command: d2v pretrain --config roberta_base --workdir runs/roberta_base
    (data: --config.data.source=FOLDER of text files, --config.data.tokenizer=FOLDER of a GPT-2
    vocabulary)
Cost: not measured; about 0.31 TFLOP per example and step by the FLOP count, so 1.3e21 FLOP
    for the whole schedule.
Expected: MNLI 87.6, SST-2 94.8 (released weights). Not yet run here.
"""

from d2v_jax.configs import bert
from ml_collections import config_dict


def get_config(arg: str = "") -> config_dict.ConfigDict:
    """`arg`: "" for the recipe, "smoke" for thirty tiny steps, "budget" for few devices."""
    c = bert.roberta()
    c.recipe = "roberta_base"
    return bert.variant(c, arg, shrink=32)
