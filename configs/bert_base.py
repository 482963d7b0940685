"""BERT base uncased, of its size (arXiv:1810.04805).

The ids are those of a byte-level BPE of as many; one length instead of 128, then 512 tokens.
Pairs of documents instead of a table: --config.data.source=FOLDER --config.data.blocks=pairs
--config.data.labels=none "--config.data.columns=('text',)" "--config.data.label_names=()".
BERT's own vocabulary: --config.data.tokenizer=FOLDER of vocab.txt, frontend.mask_id=103,
frontend.pad_id=0, "--config.corruption.kept=(101,102)" --config.corruption.separator=102.
Without pairs: --config.sentences.next=False and a source without labels.

Command: d2v pretrain --config bert_base --workdir runs/bert_base
    (data: --config.data.source=FILE.tsv of pairs, columns first, second and label;
    --config.data.tokenizer=FOLDER of 30,522 ids)
Cost: not measured; about 0.30 TFLOP per example and step by the FLOP count, so 7.7e19 FLOP
    for the whole schedule.
Expected: GLUE test average 79.6 (paper, from memory). Not yet run here.
"""

from d2v_jax.configs import bert
from ml_collections import config_dict


def get_config(arg: str = "") -> config_dict.ConfigDict:
    """`arg`: "" for the recipe, "smoke" for thirty tiny steps, "budget" for few devices."""
    c = bert.get_config()
    c.recipe = "bert_base"
    return bert.variant(c, arg)
