"""BERT large uncased, of its size (arXiv:1810.04805).

The ids are those of a byte-level BPE of as many; one length instead of 128, then 512 tokens.
Without pairs: --config.sentences.next=False and a source without labels.

Command: d2v pretrain --config bert_large --workdir runs/bert_large
    (data: --config.data.source=FILE.tsv of pairs, columns first, second and label;
    --config.data.tokenizer=FOLDER of 30,522 ids)
Cost: not measured; about 1.02 TFLOP per example and step by the FLOP count, so 2.6e20 FLOP
    for the whole schedule.
Expected: SQuAD 1.1 F1 91.0, MNLI 86.05 (released weights). Not yet run here.
"""

from d2v_jax.configs import bert
from ml_collections import config_dict


def get_config(arg: str = "") -> config_dict.ConfigDict:
    """`arg`: "" for the recipe, "smoke" for thirty tiny steps, "budget" for few devices."""
    c = bert.large(bert.get_config())
    c.recipe = "bert_large"
    return bert.variant(c, arg)
