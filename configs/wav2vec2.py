"""Every field that only wav2vec 2.0 has. The values are those of its base model."""

from d2v_jax.configs import audio
from ml_collections import config_dict

UNUSED = ("decoder", "targets", "loss", "teacher")  # sections of data2vec


def get_config() -> config_dict.ConfigDict:
    """The base of recipes for wav2vec 2.0."""
    c = encoder()
    c.recipe, c.objective = "wav2vec2", "wav2vec2"
    c.mask.share = 0.65
    c.mask.neighbours = 5  # utterances that shared a device

    c.contrast = config_dict.ConfigDict()
    c.contrast.groups = 2  # codebooks
    c.contrast.entries = 320  # of each
    c.contrast.width = 256  # of a choice of entries, side by side
    c.contrast.projected = 256  # in which predictions and targets are compared
    c.contrast.negatives = 100  # other hidden frames that each is compared with
    c.contrast.temperature = 0.1  # cosines are divided by it
    # Temperature of the softmax behind the choices: start * decay ^ updates, at least `noise_end`.
    c.contrast.noise_start, c.contrast.noise_end, c.contrast.noise_decay = 2.0, 0.5, 0.999995
    c.contrast.diversity = 0.1  # weight of the share of entries that are not used
    c.contrast.penalty = 10.0  # weight of the mean square of what the convolutions give
    c.contrast.input_dropout = 0.1  # of the tokens
    c.contrast.target_dropout = 0.1  # of what is quantized
    return c


def encoder() -> config_dict.ConfigDict:
    """The encoder and the training that wav2vec 2.0 base and HuBERT base have in common."""
    c = audio.get_config()
    for section in UNUSED:
        del c[section]
    c.frontend.conv_norm, c.frontend.gradient = "first", 0.1
    c.positions.add, c.positions.bias, c.positions.zero_padding = "normed_conv", "none", "input"
    c.positions.conv_kernel, c.positions.conv_groups = 128, 16
    c.mask.hide, c.mask.kind, c.mask.block = "replace", "spans", 10
    c.mask.adjust, c.mask.views = 0.0, 1
    c.optimizer.learning_rate = 5e-4
    c.optimizer.schedule, c.optimizer.warmup_steps = "linear", 32_000
    c.data.samples, c.data.min_samples = 240_000, 32_000
    c.data.buckets = (32_000, 80_000, 160_000, 240_000)
    return c


def large(c: config_dict.ConfigDict) -> config_dict.ConfigDict:
    """What the large models of both change: every convolution normed, norms before branches."""
    c.frontend.conv_norm, c.frontend.gradient = "each", 1.0
    c.trunk.width, c.trunk.heads, c.trunk.depth = 1024, 16, 24
    c.trunk.block, c.trunk.input_norm, c.trunk.output_norm = "plain_pre_norm", False, True
    c.trunk.input_dropout = c.trunk.dropout = c.trunk.attention_dropout = c.trunk.layer_drop = 0.0
    return c


def smoke(c: config_dict.ConfigDict) -> config_dict.ConfigDict:
    """Thirty steps of seconds."""
    c = audio.smoke(c)
    c.positions.conv_kernel = 16
    c.contrast.entries, c.contrast.width, c.contrast.projected = 16, 16, 16
    c.contrast.negatives = 10
    return c
