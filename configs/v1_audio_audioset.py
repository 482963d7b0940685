"""data2vec 1.0 base on AudioSet (arXiv:2202.03555; REFERENCE §5.7).

All twelve blocks are targets, normalised again after averaging, and the teacher averages the
position stack too.

Command: d2v pretrain --config v1_audio_audioset --workdir runs/v1_audio_audioset
    (data: --config.data.source=FOLDER of wav or flac files)
Cost: not measured; about 0.54 TFLOP per example and step by the FLOP count of student, teacher and
    decoder, so 5.5e19 FLOP for the whole schedule.
Expected: 34.5 mAP after fine-tuning (paper, from memory). Not yet run here.
"""

from d2v_jax.configs import audio, base
from ml_collections import config_dict


def get_config(arg: str = "") -> config_dict.ConfigDict:
    """`arg`: "" for the recipe, "smoke" for thirty tiny steps, "budget" for few devices."""
    c = audio.get_config()
    c.recipe = "v1_audio_audioset"
    c.positions.bias = "none"
    c.positions.zero_padding = "input"
    c.mask.hide, c.mask.kind = "replace", "spans"
    c.mask.share, c.mask.adjust, c.mask.block, c.mask.views = 0.65, 0.0, 10, 1
    c.mask.neighbours = 12  # utterances that shared a device
    c.decoder.layers, c.decoder.input_dropout = 0, 0.0
    c.teacher.owns = ("prenet", "trunk")  # the positions are the student's
    c.teacher.decay_end, c.teacher.decay_steps = 0.9999, 30_000
    c.optimizer.learning_rate = 5e-4

    c.teacher.owns = ("positions", "prenet", "trunk")
    c.targets.blocks = tuple(range(12))
    c.targets.final_norms = ("layer",)
    c.optimizer.warmup_steps = 10_000
    c.train.steps, c.train.batch_size = 200_000, 512
    return base.variant(c, arg, audio.smoke, shrink=4, micro_batches=4)
