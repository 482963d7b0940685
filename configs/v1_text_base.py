"""data2vec 1.0 base on BookCorpus and Wikipedia (arXiv:2202.03555; REFERENCE §7.7).

The teacher sees the full text, as in the paper; --config.teacher.sees=hidden feeds it only the
masked tokens, as the released code did (T1).

Command: d2v pretrain --config v1_text_base --workdir runs/v1_text_base
    (data: --config.data.source=FOLDER of text files, --config.data.tokenizer=FOLDER of a GPT-2
    vocabulary)
Cost: not measured; about 0.39 TFLOP per example and step by the FLOP count of student, teacher and
    decoder, so 1.0e20 FLOP for the whole schedule.
Expected: GLUE development average 82.9 (paper, with span masking, from memory). Not yet run here.
"""

from d2v_jax.configs import base, text
from ml_collections import config_dict


def get_config(arg: str = "") -> config_dict.ConfigDict:
    """`arg`: "" for the recipe, "smoke" for thirty tiny steps, "budget" for few devices."""
    c = text.get_config()
    c.recipe = "v1_text_base"
    c.data.blocks = "documents"
    c.positions.zero_padding = "input"
    c.mask.hide, c.mask.kind = "input", "clipped_spans"
    c.mask.share, c.mask.block, c.mask.views = 0.35, 4, 1
    c.decoder.layers, c.decoder.input_dropout = 0, 0.0
    c.targets.blocks = tuple(range(2, 12))
    c.targets.layer_norms = ("layer",)
    c.loss.beta = 4.0
    c.teacher.sees = "inputs"
    c.teacher.decay_start, c.teacher.decay_end, c.teacher.decay_steps = 0.999, 0.9999, 300_000
    c.optimizer.warmup_steps = 10_000
    c.optimizer.clip = 5.0
    c.train.batch_size = 256
    return base.variant(c, arg, text.smoke, shrink=4, micro_batches=2)
