"""Audio tagging with the settings of data2vec 1.0 on AudioSet (REFERENCE §12.5).

Paper: arXiv:2202.03555. Tags are a line for each recording in a .txt file beside the manifest,
"Speech,Music".
Command: d2v finetune --config finetune_tags --workdir RUN --config.init_from=CHECKPOINT
    --config.data.source=MANIFEST --config.eval.source=OTHER
Cost: not measured; 30,000 updates of 21 minutes of sound.
Expected: mAP 34.5 (REFERENCE §13). Not yet run here.
"""

from d2v_jax.configs import audio, supervised
from ml_collections import config_dict


def get_config(arg: str = "") -> config_dict.ConfigDict:
    """`arg`: "" for the recipe, "smoke" for thirty tiny steps."""
    c = supervised.get_config(audio)
    c.recipe = "finetune_tags"
    c.objective = "tag"
    c.data.labels, c.data.balance = "tags", True
    c.data.samples, c.data.buckets, c.data.min_samples = 160_000, (160_000,), 1_600
    c.head.kind, c.head.init = "audio_classes", "xavier"
    c.positions.zero_padding = "each_layer"
    c.trunk.dropout, c.trunk.attention_dropout = 0.1, 0.2
    c.trunk.activation_dropout, c.trunk.layer_drop = 0.1, 0.1
    c.mask.hide, c.mask.share, c.mask.block, c.mask.neighbours = "replace", 0.6, 5, 8
    c.augment.waves = True
    c.optimizer.learning_rate, c.optimizer.warmup_steps = 6e-5, 5_000
    c.optimizer.b2, c.optimizer.eps, c.optimizer.weight_decay = 0.98, 1e-8, 0.0
    c.optimizer.frozen = (("frontend/conv_*", -1),)
    c.train.steps, c.train.batch_size = 30_000, 128
    c.train.keep_best, c.train.best_metric = 1, "-eval/mAP"
    c.eval.every, c.eval.examples = 1_000, 0
    return supervised.variant(c, arg)
