"""HuBERT base on LibriSpeech 960 h, second iteration (arXiv:2106.07447).

The clusters of frames are data of their own, 500 of a layer of an earlier model, made by d2v units
(docs/hubert.md). Crops are of 2, 5, 10 or 15 s, as long as an utterance allows.
The first iteration learns 100 clusters of MFCCs for 250,000 updates:
"--config.clusters.classes=(104,)" --config.clusters.rate=100 --config.train.steps=250000

Command: d2v pretrain --config hubert_base --workdir runs/hubert_base
    "--config.data.units=('UNITS',)"
Cost: not measured; about 0.69 TFLOP per crop of 15 s and step by the FLOP count, so 5.3e19 FLOP for
    the whole schedule.
Expected: 3.4 / 8.1 % WER on test-clean / other after CTC on 100 h with a 4-gram. Not yet run here.
"""

from d2v_jax.configs import base, hubert
from ml_collections import config_dict


def get_config(arg: str = "") -> config_dict.ConfigDict:
    """`arg`: "" for the recipe, "smoke" for thirty tiny steps, "budget" for few devices."""
    c = hubert.get_config()
    c.recipe = "hubert_base"
    c.train.steps, c.train.batch_size = 400_000, 192
    return base.variant(c, arg, hubert.smoke, shrink=4, micro_batches=4)
