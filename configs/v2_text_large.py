"""data2vec 2.0 large on BookCorpus and Wikipedia (arXiv:2212.07525; REFERENCE §11.4).

Command: d2v pretrain --config v2_text_large --workdir runs/v2_text_large
    (data: --config.data.source=FOLDER of text files, --config.data.tokenizer=FOLDER of a GPT-2
    vocabulary)
Cost: not measured; about 4.9 TFLOP per example and step by the FLOP count of student, teacher and
    decoder, so 1.9e20 FLOP for the whole schedule.
Expected: no number published, and no checkpoint released. Not yet run here.
"""

from d2v_jax.configs import base, text
from ml_collections import config_dict


def get_config(arg: str = "") -> config_dict.ConfigDict:
    """`arg`: "" for the recipe, "smoke" for thirty tiny steps, "budget" for few devices."""
    c = text.get_config()
    c.recipe = "v2_text_large"
    c.trunk.width, c.trunk.heads, c.trunk.depth = 1024, 16, 24
    c.mask.share = 0.5
    c.targets.blocks = tuple(range(24))
    c.targets.layer_norms, c.targets.final_norms = ("layer",), ("instance",)
    c.optimizer.learning_rate = 1e-4

    c.train.steps = 600_000
    return base.variant(c, arg, text.smoke, shrink=2, micro_batches=4)
