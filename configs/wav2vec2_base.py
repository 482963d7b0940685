"""wav2vec 2.0 base on LibriSpeech 960 h (arXiv:2006.11477).

Crops of 2, 5, 10 or 15 s, as long as an utterance allows, where the original cuts each batch to
its shortest utterance (at most 15.6 s); every batch is its 1.56 hours, 375 crops of 15 s.

Command: d2v pretrain --config wav2vec2_base --workdir runs/wav2vec2_base
    (data: --config.data.source=FOLDER of wav or flac files)
Cost: not measured; about 0.69 TFLOP per crop of 15 s and step by the FLOP count, so 1.06e20 FLOP
    for the whole schedule.
Expected: 3.4 / 8.6 % WER on test-clean / other after CTC on 960 h, greedy. Not yet run here.
"""

from d2v_jax.configs import base, wav2vec2
from ml_collections import config_dict


def get_config(arg: str = "") -> config_dict.ConfigDict:
    """`arg`: "" for the recipe, "smoke" for thirty tiny steps, "budget" for few devices."""
    c = wav2vec2.get_config()
    c.recipe = "wav2vec2_base"
    c.train.steps, c.train.batch_size = 400_000, 384
    return base.variant(c, arg, wav2vec2.smoke, shrink=4, micro_batches=4)
