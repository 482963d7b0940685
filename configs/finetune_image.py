"""Any labelled pictures: a folder with one sub-folder per class, TFDS, idx files.

Paper: the settings of data2vec 2.0 on ImageNet (arXiv:2212.07525; REFERENCE §12.3), for small data
and one machine: fewer updates, smaller batches, weaker augmentation.
Command: d2v finetune --config finetune_image --workdir RUN --config.init_from=CHECKPOINT
    --config.data.source=FOLDER --config.eval.source=OTHER
Cost: that of about three pretraining steps of version 1.0 for each update.
Expected: depends on the data; benchmarks/downstream.py compares it with an untrained encoder.
"""

from d2v_jax.configs import image, supervised
from ml_collections import config_dict


def get_config(arg: str = "") -> config_dict.ConfigDict:
    """`arg`: "" for the recipe, "smoke" for thirty tiny steps."""
    c = supervised.get_config(image)
    c.recipe = "finetune_image"
    c.data.labels = "class"
    c.data.crop_scale = (0.5, 1.0)
    c.trunk.dropout = c.trunk.attention_dropout = c.trunk.activation_dropout = 0.0
    c.trunk.input_dropout = c.trunk.layer_drop = 0.0
    c.trunk.drop_path, c.trunk.drop_path_ramp = 0.1, "both"
    c.augment.smoothing = 0.1
    c.optimizer.learning_rate = 1e-3
    c.optimizer.layer_decay = 0.75
    c.optimizer.decays = "matrices"
    c.optimizer.warmup_steps = 100
    c.optimizer.b2, c.optimizer.weight_decay = 0.95, 0.05
    c.optimizer.clip = 4.0
    c.train.steps, c.train.batch_size = 2_000, 64
    c.train.log_every, c.train.checkpoint_every = 20, 500
    c.eval.every = 500
    return supervised.variant(c, arg)
