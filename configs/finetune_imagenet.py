"""ImageNet-1k with the settings of the papers (REFERENCE §12.2, §12.3).

Papers: arXiv:2202.03555 and arXiv:2212.07525. The argument names one: "v1_base", "v1_large",
"v2_base", "v2_large" or "v2_huge"; without one it is "v2_base".
Command: d2v finetune --config finetune_imagenet:v2_base --workdir RUN
    --config.init_from=CHECKPOINT
Cost: not measured; 50 or 100 epochs.
Expected: top-1 84.2 / 86.6 (1.0 base, large), 84.5 / 86.8 / 87.4 (2.0 base, large, huge 14), see
REFERENCE §13. Not yet run here.
"""

from typing import NamedTuple

from d2v_jax.configs import image, supervised
from ml_collections import config_dict

EPOCH = 1_281_167  # pictures


class Setting(NamedTuple):
    """A column of REFERENCE §12.2 or §12.3; `least` is the rate at the end."""

    batch: int
    steps: int
    rate: float
    least: float
    warmup: int
    layer_decay: float
    drop_path: float
    weight_decay: float
    clip: float = 0.0


SETTINGS = {
    "v1_base": Setting(1024, 100 * (EPOCH // 1024), 4e-3, 1e-6, 10 * (EPOCH // 1024), 0.65, 0.2, 0),
    "v1_large": Setting(
        1024, 50 * (EPOCH // 1024), 5e-3, 1e-6, 5 * (EPOCH // 1024), 0.65, 0.25, 0.05
    ),
    "v2_base": Setting(512, 250_200, 1e-3, 1e-6, 16_000, 0.65, 0.1, 0.05),
    "v2_large": Setting(512, 125_200, 5e-4, 1e-7, 16_000, 0.75, 0.2, 0.05, 4.0),
    "v2_huge": Setting(512, 125_200, 5e-4, 1e-20, 16_000, 0.75, 0.2, 0.05, 4.0),
}


def get_config(arg: str = "") -> config_dict.ConfigDict:
    """`arg`: a name of `SETTINGS`."""
    name = arg or "v2_base"
    if name not in SETTINGS:
        raise ValueError(f"finetune_imagenet has no setting {name!r}; there are {[*SETTINGS]}")
    one, first = SETTINGS[name], name.startswith("v1")
    c = supervised.get_config(image)
    c.recipe = f"finetune_imagenet:{name}"
    c.data.labels = "class"
    c.data.crop_scale = (0.08, 1.0)
    c.data.operations, c.data.strength = 2, 9.0
    c.trunk.dropout = c.trunk.attention_dropout = c.trunk.activation_dropout = 0.0
    c.trunk.input_dropout = c.trunk.layer_drop = 0.0
    c.trunk.drop_path = one.drop_path
    c.augment.erase, c.augment.smoothing, c.augment.cutmix = 0.25, 0.1, 1.0
    if first:
        c.trunk.output_norm = False
        c.frontend.mean = c.frontend.std = (0.5, 0.5, 0.5)
        c.augment.mixup, c.augment.mix_share = 0.8, 1.0
        c.head.scale = 0.001
        c.optimizer.adam, c.optimizer.b2, c.optimizer.decay_before = "torch", 0.999, True
        c.optimizer.decays = "matrices"
    else:
        c.trunk.drop_path_ramp = "both"
        c.augment.mixup, c.augment.mix_share = 0.7, 0.9
        c.optimizer.b2, c.optimizer.same_end = 0.95, True
    c.optimizer.eps = 1e-8
    c.optimizer.learning_rate, c.optimizer.end_share = one.rate, one.least / one.rate
    c.optimizer.warmup_steps = one.warmup
    c.optimizer.layer_decay = one.layer_decay
    c.optimizer.weight_decay, c.optimizer.clip = float(one.weight_decay), one.clip
    c.train.steps, c.train.batch_size = one.steps, one.batch
    c.eval.every, c.eval.examples, c.eval.metrics = 5_000, 0, ("accuracy", "top5")
    c.train.keep_best, c.train.best_metric = 1, "-eval/accuracy"
    return supervised.variant(c, "")
