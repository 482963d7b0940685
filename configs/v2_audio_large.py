"""data2vec 2.0 large on Libri-light (arXiv:2212.07525; REFERENCE §9.5).

Crops of 2, 5, 10 or 15 s, as long as an utterance allows; every batch is the 960 s of the
original. The teacher is frozen once its decay has reached 1.

Command: d2v pretrain --config v2_audio_large --workdir runs/v2_audio_large
    (data: --config.data.source=FOLDER of wav or flac files)
Cost: not measured; about 5.8 TFLOP per example and step by the FLOP count of student, teacher and
    decoder, so 3.4e20 FLOP for the whole schedule.
Expected: no number of this configuration in REFERENCE. Not yet run here.
"""

from d2v_jax.configs import audio, base
from ml_collections import config_dict


def get_config(arg: str = "") -> config_dict.ConfigDict:
    """`arg`: "" for the recipe, "smoke" for thirty tiny steps, "budget" for few devices."""
    c = audio.get_config()
    c.recipe = "v2_audio_large"
    c.trunk.width, c.trunk.heads, c.trunk.prenet_depth, c.trunk.depth = 1024, 16, 8, 16
    c.trunk.layer_drop = 0.0
    c.mask.share, c.mask.adjust, c.mask.views = 0.55, 0.1, 12
    c.decoder.width = 768
    c.targets.blocks = tuple(range(16))
    c.teacher.decay_start, c.teacher.decay_end, c.teacher.decay_steps = 0.9997, 1.0, 300_000
    c.optimizer.learning_rate, c.optimizer.warmup_steps = 4e-4, 10_000
    c.optimizer.clip = 1.0
    c.data.buckets = (32_000, 80_000, 160_000, 240_000)
    c.train.steps, c.train.batch_size = 600_000, 96
    return base.variant(c, arg, audio.smoke, shrink=4, micro_batches=4)
