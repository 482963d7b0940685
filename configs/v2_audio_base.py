"""data2vec 2.0 base on LibriSpeech 960 h (arXiv:2212.07525; REFERENCE §9.5).

Crops of 2, 5, 10 or 15 s, as long as an utterance allows; every batch is 480 s, the 500 s of the
original less 4 % so that eight devices share them evenly. Masks are drawn after cropping, with
exact counts (T6).

Command: d2v pretrain --config v2_audio_base --workdir runs/v2_audio_base
    (data: --config.data.source=FOLDER of wav or flac files)
Cost: not measured; about 1.4 TFLOP per example and step by the FLOP count of student, teacher and
    decoder, so 2.7e19 FLOP for the whole schedule.
Expected: about 5.2 % WER on test-other after CTC on 960 h with a language model (paper, from
    memory, low confidence). Not yet run here.
"""

from d2v_jax.configs import audio, base
from ml_collections import config_dict


def get_config(arg: str = "") -> config_dict.ConfigDict:
    """`arg`: "" for the recipe, "smoke" for thirty tiny steps, "budget" for few devices."""
    c = audio.get_config()
    c.recipe = "v2_audio_base"
    c.data.buckets = (32_000, 80_000, 160_000, 240_000)
    c.train.steps, c.train.batch_size = 400_000, 48
    return base.variant(c, arg, audio.smoke, shrink=2, micro_batches=4)
