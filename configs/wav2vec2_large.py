"""wav2vec 2.0 large on Libri-Light 60k h (arXiv:2006.11477), called "vox" or "lv60".

Learning rate and length are the paper's; the published configuration says 5e-3 and 1,000,000.

Command: d2v pretrain --config wav2vec2_large --workdir runs/wav2vec2_large
    (data: --config.data.source=FOLDER of wav or flac files)
Cost: not measured; about 1.8 TFLOP per crop of 15 s and step by the FLOP count, so 6.9e20 FLOP for
    the whole schedule.
Expected: 2.2 % WER on test-clean after CTC on 960 h, greedy; 1.8 / 3.3 % on test-clean / other
    with a Transformer's language model. Not yet run here.
"""

from d2v_jax.configs import base, wav2vec2
from ml_collections import config_dict


def get_config(arg: str = "") -> config_dict.ConfigDict:
    """`arg`: "" for the recipe, "smoke" for thirty tiny steps, "budget" for few devices."""
    c = wav2vec2.large(wav2vec2.get_config())
    c.recipe = "wav2vec2_large"
    c.frontend.conv_bias = True
    c.contrast.width = c.contrast.projected = 768
    c.contrast.noise_end = 0.1
    c.contrast.penalty, c.contrast.input_dropout, c.contrast.target_dropout = 0.0, 0.0, 0.0
    c.optimizer.learning_rate = 3e-4
    c.train.steps, c.train.batch_size = 600_000, 640
    return base.variant(c, arg, wav2vec2.smoke, shrink=4, micro_batches=16)
