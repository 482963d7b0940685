"""Modified contrastive predictive coding on LibriSpeech 100 h (arXiv:2002.02848), as in CPC_audio.

Windows of 1.28 s, up to eight of one utterance: an example's other frames are of the same speaker,
where the original puts windows of one speaker on a device. Its 200 epochs are the steps below. Its
waves are not standardised; ours are, by the utterance.

Command: d2v pretrain --config cpc_base --workdir runs/cpc_base
    (data: --config.data.source=FOLDER of wav or flac files)
Cost: not measured; about 0.15 TFLOP per crop of 10 s and step by the FLOP count, so 1.1e18 FLOP for
    the whole schedule.
Expected: phones are told by a linear probe in 64.6 % of the frames (41 classes), speakers in
    97.4 %. Not yet run here.
"""

from d2v_jax.configs import base, cpc
from ml_collections import config_dict


def get_config(arg: str = "") -> config_dict.ConfigDict:
    """`arg`: "" for the recipe, "smoke" for thirty tiny steps, "budget" for few devices."""
    c = cpc.get_config()
    c.recipe = "cpc_base"
    c.train.steps, c.train.batch_size = 880_000, 8
    return base.variant(c, arg, cpc.smoke, micro_batches=2)
