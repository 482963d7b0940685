"""data2vec 2.0 large, a million updates with smooth L1 (REFERENCE §11.4, "pgrp 1M").

Command: d2v pretrain --config v2_text_large_1m --workdir runs/v2_text_large_1m
    (data: --config.data.source=FOLDER of text files, --config.data.tokenizer=FOLDER of a GPT-2
    vocabulary)
Cost: not measured; about 4.9 TFLOP per example and step by the FLOP count of student, teacher and
    decoder, so 3.2e20 FLOP for the whole schedule.
Expected: no number published. Not yet run here.
"""

from d2v_jax.configs import base, text
from ml_collections import config_dict


def get_config(arg: str = "") -> config_dict.ConfigDict:
    """`arg`: "" for the recipe, "smoke" for thirty tiny steps, "budget" for few devices."""
    c = text.get_config()
    c.recipe = "v2_text_large_1m"
    c.trunk.width, c.trunk.heads, c.trunk.depth = 1024, 16, 24
    c.mask.share = 0.5
    c.targets.blocks = tuple(range(24))
    c.targets.layer_norms, c.targets.final_norms = ("layer",), ("instance",)
    c.optimizer.learning_rate = 1e-4

    c.loss.beta = 4.0
    return base.variant(c, arg, text.smoke, shrink=2, micro_batches=4)
