"""data2vec 2.0 on speech of 24 synthetic voices: an encoder that learns to write in minutes.

Paper: arXiv:2212.07525, scaled down; no published counterpart.
Command: d2v pretrain --config quickstart_speech --workdir runs/qs (espeak-ng speaks the sentences),
    then d2v finetune --config finetune_asr with the fields of benchmarks/downstream.py
Cost: six minutes on two CPU cores.
Expected: fine-tuned on twenty minutes of transcripts a letter error rate of .38, untrained .44;
    docs/results.md, Few labels.
"""

from d2v_jax.configs import audio, base, quickstart_audio
from ml_collections import config_dict


def get_config(arg: str = "") -> config_dict.ConfigDict:
    """`arg`: "" for the recipe, "smoke" for thirty tiny steps."""
    c = quickstart_audio.get_config()
    c.recipe = "quickstart_speech"
    c.data.source, c.data.split = "builtin:speech", "learn"
    c.data.samples = c.data.min_samples = 32_000
    c.frontend.conv_layers = ((64, 32, 16), (128, 8, 4), (128, 5, 5))  # 20 ms
    c.positions.add = "conv"
    c.positions.conv_layers, c.positions.conv_kernel, c.positions.conv_groups = 2, 9, 4
    c.mask.share, c.mask.block, c.mask.views = 0.5, 4, 4
    c.train.steps = 1_200
    return base.variant(c, arg, audio.smoke)
