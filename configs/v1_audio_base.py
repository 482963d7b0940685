"""data2vec 1.0 base on LibriSpeech 960 h (arXiv:2202.03555; REFERENCE §5.7).

Crops of 2, 5, 10 or 15 s, as long as an utterance allows, where the original cuts each batch to
its shortest utterance (at most 20 s); every batch is its 63 minutes, 384 crops of 10 s.

Command: d2v pretrain --config v1_audio_base --workdir runs/v1_audio_base
    (data: --config.data.source=FOLDER of wav or flac files)
Cost: not measured; about 0.54 TFLOP per example and step by the FLOP count of student, teacher and
    decoder, so 8.3e19 FLOP for the whole schedule.
Expected: 2.77 / 7.08 % WER on test-clean / other after CTC on 960 h, greedy (model card). Not yet
    run here.
"""

from d2v_jax.configs import audio, base
from ml_collections import config_dict


def get_config(arg: str = "") -> config_dict.ConfigDict:
    """`arg`: "" for the recipe, "smoke" for thirty tiny steps, "budget" for few devices."""
    c = audio.get_config()
    c.recipe = "v1_audio_base"
    c.positions.bias = "none"
    c.positions.zero_padding = "input"
    c.mask.hide, c.mask.kind = "replace", "spans"
    c.mask.share, c.mask.adjust, c.mask.block, c.mask.views = 0.65, 0.0, 10, 1
    c.mask.neighbours = 12  # utterances that shared a device
    c.decoder.layers, c.decoder.input_dropout = 0, 0.0
    c.trunk.attention_parts = 8
    c.teacher.owns = ("prenet", "trunk")  # the positions are the student's
    c.teacher.decay_end, c.teacher.decay_steps = 0.9999, 30_000
    c.optimizer.learning_rate = 5e-4

    c.optimizer.schedule, c.optimizer.start_share, c.optimizer.end_share = "exponential", 0.01, 0.01
    c.optimizer.warmup_steps, c.optimizer.hold_steps = 12_000, 360_000
    c.data.buckets = (32_000, 80_000, 160_000, 240_000)
    c.train.steps, c.train.batch_size = 400_000, 384
    return base.variant(c, arg, audio.smoke, shrink=4, micro_batches=4)
