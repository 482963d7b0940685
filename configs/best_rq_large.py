"""BEST-RQ (arXiv:2202.01855) with as many layers of the same width as the paper's, on 60k h.

The paper's encoder is a conformer of 600 M parameters; this is the Transformer of wav2vec 2.0 large
behind convolutions to tokens of 40 ms. Codebook, masks, noise, batch and warm-up are the paper's;
the learning rate is a tenth of its, as Transformers without convolutions inside need.

Command: d2v pretrain --config best_rq_large --workdir runs/best_rq_large
    (data: --config.data.source=FOLDER of wav or flac files)
Cost: not measured; about 0.96 TFLOP per crop of 15 s and step by the FLOP count, so 5.9e20 FLOP for
    the whole schedule.
Expected: 1.6 / 2.9 % WER on test-clean / other after fine-tuning the paper's conformer on 960 h,
    without a language model; nothing published with this encoder. Not yet run here.
"""

from d2v_jax.configs import base, bestrq, wav2vec2
from ml_collections import config_dict


def get_config(arg: str = "") -> config_dict.ConfigDict:
    """`arg`: "" for the recipe, "smoke" for thirty tiny steps, "budget" for few devices."""
    c = wav2vec2.large(bestrq.get_config())
    c.recipe = "best_rq_large"
    c.optimizer.learning_rate = 4e-4
    c.train.steps, c.train.batch_size = 300_000, 2048
    return base.variant(c, arg, bestrq.smoke, shrink=4, micro_batches=16)
