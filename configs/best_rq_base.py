"""BEST-RQ (arXiv:2202.01855) with the Transformer of wav2vec 2.0 base, on LibriSpeech 960 h.

Codebook, masks and noise are the paper's. Its encoder, a conformer of 600 M parameters on log-mel
frames, is not: here waves, tokens of 40 ms and blocks are those that the siblings have, so that a
comparison changes the targets alone. Learning rate, warm-up and length are those of the SpeechBrain
recipe, whose conformer has 12 layers too; the rate falls in a line.

Command: d2v pretrain --config best_rq_base --workdir runs/best_rq_base
    (data: --config.data.source=FOLDER of wav or flac files)
Cost: not measured; about 0.44 TFLOP per crop of 15 s and step by the FLOP count, so 5.1e19 FLOP for
    the whole schedule.
Expected: nothing published with this encoder. Not yet run here.
"""

from d2v_jax.configs import base, bestrq
from ml_collections import config_dict


def get_config(arg: str = "") -> config_dict.ConfigDict:
    """`arg`: "" for the recipe, "smoke" for thirty tiny steps, "budget" for few devices."""
    c = bestrq.get_config()
    c.recipe = "best_rq_base"
    c.optimizer.learning_rate = 8e-4
    c.train.steps, c.train.batch_size = 300_000, 384
    return base.variant(c, arg, bestrq.smoke, shrink=4, micro_batches=4)
