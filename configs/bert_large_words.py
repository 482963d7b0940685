"""BERT large uncased with whole-word masks, of its size and without pairs (arXiv:1810.04805).

Pairs carry no borders of words, so there is no question of what follows.

Command: d2v pretrain --config bert_large_words --workdir runs/bert_large_words
    (data: --config.data.source=FOLDER of text files, --config.data.tokenizer=FOLDER of a GPT-2
    vocabulary)
Cost: not measured; about 1.02 TFLOP per example and step by the FLOP count, so 2.6e20 FLOP
    for the whole schedule.
Expected: SQuAD 1.1 F1 92.8, MNLI 87.07 (released weights, trained with pairs). Not yet run here.
"""

from d2v_jax.configs import bert
from ml_collections import config_dict


def get_config(arg: str = "") -> config_dict.ConfigDict:
    """`arg`: "" for the recipe, "smoke" for thirty tiny steps, "budget" for few devices."""
    c = bert.single(bert.large(bert.get_config()))
    c.recipe = "bert_large_words"
    c.data.words = c.corruption.words = True
    return bert.variant(c, arg)
