"""HuBERT large on Libri-Light 60k h (arXiv:2106.07447).

The clusters of frames are data of their own, 500 of a layer of an earlier model, made by d2v units
(docs/hubert.md). Crops are of 2, 5, 10 or 15 s, as long as an utterance allows.

Command: d2v pretrain --config hubert_large --workdir runs/hubert_large
    "--config.data.units=('UNITS',)"
Cost: not measured; about 1.8 TFLOP per crop of 15 s and step by the FLOP count, so 3.4e20 FLOP for
    the whole schedule.
Expected: 1.9 / 3.3 % WER on test-clean / other after CTC on 960 h with a
    Transformer's language model. Not yet run here.
"""

from d2v_jax.configs import base, hubert, wav2vec2
from ml_collections import config_dict


def get_config(arg: str = "") -> config_dict.ConfigDict:
    """`arg`: "" for the recipe, "smoke" for thirty tiny steps, "budget" for few devices."""
    c = wav2vec2.large(hubert.get_config())
    c.recipe = "hubert_large"
    c.optimizer.learning_rate, c.optimizer.clip = 1.5e-3, 1.0
    c.clusters.projected, c.clusters.input_dropout = 768, 0.0
    c.train.steps, c.train.batch_size = 400_000, 480
    return base.variant(c, arg, hubert.smoke, shrink=4, micro_batches=16)
