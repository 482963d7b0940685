"""data2vec 2.0 base on BookCorpus and Wikipedia (arXiv:2212.07525; REFERENCE §11.4).

Command: d2v pretrain --config v2_text_base --workdir runs/v2_text_base
    (data: --config.data.source=FOLDER of text files, --config.data.tokenizer=FOLDER of a GPT-2
    vocabulary)
Cost: not measured; about 1.9 TFLOP per example and step by the FLOP count of student, teacher and
    decoder, so 1.2e20 FLOP for the whole schedule.
Expected: GLUE on a par with RoBERTa base at half its cost (paper abstract). Not yet run here.
"""

from d2v_jax.configs import base, text
from ml_collections import config_dict


def get_config(arg: str = "") -> config_dict.ConfigDict:
    """`arg`: "" for the recipe, "smoke" for thirty tiny steps, "budget" for few devices."""
    c = text.get_config()
    c.recipe = "v2_text_base"

    return base.variant(c, arg, text.smoke, shrink=2, micro_batches=4)
