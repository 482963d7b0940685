"""data2vec 2.0 on an invented language, synthesised as it is read: minutes on a laptop.

Paper: arXiv:2212.07525, scaled down; no published counterpart.
Command: d2v pretrain --config quickstart_audio --workdir runs/qa && d2v probe runs/qa
Cost: about four minutes on two CPU cores.
Expected: README, Results.
"""

from d2v_jax.configs import audio, base
from ml_collections import config_dict


def get_config(arg: str = "") -> config_dict.ConfigDict:
    """`arg`: "" for the recipe, "smoke" for thirty tiny steps."""
    c = audio.get_config()
    c.recipe = "quickstart_audio"
    c.data.source = "builtin:tones"
    c.data.samples = c.data.min_samples = 10_240
    c.data.threads = 1  # more would take cores from the step
    # Tokens of 10 ms that overlap by half: those of an untrained encoder that do not overlap say
    # nothing about each other, and it takes far longer until learning begins.
    c.frontend.conv_layers = ((64, 32, 16), (128, 20, 10))
    c.positions.add = "none"  # the edges of such short crops would turn the targets positional
    c.trunk.width = 128
    c.trunk.heads = 4
    c.trunk.depth = 3
    c.trunk.dtype = "float32"
    c.trunk.input_dropout = c.trunk.dropout = c.trunk.attention_dropout = c.trunk.layer_drop = 0.0
    c.mask.share, c.mask.block, c.mask.views = 0.4, 2, 4
    c.decoder.layers, c.decoder.width, c.decoder.kernel, c.decoder.groups = 1, 128, 5, 1
    c.decoder.input_dropout = 0.0
    c.targets.blocks = tuple(range(3))
    # A frontend of its own, that follows slowly: fed by the student's, which can soon predict
    # nothing but its own silence, the targets collapse.
    c.teacher.sees = "inputs"
    c.teacher.owns = ("frontend", "positions", "prenet", "trunk")
    c.teacher.decay_start, c.teacher.decay_end, c.teacher.decay_steps = 0.998, 0.999, 1000
    c.optimizer.learning_rate = 1e-3
    c.optimizer.warmup_steps = 50
    c.optimizer.decays = "matrices"
    c.train.steps = 1400
    c.train.batch_size = 8
    c.train.log_every = 10
    c.train.checkpoint_every = 200
    return base.variant(c, arg, audio.smoke)


def sibling(c: config_dict.ConfigDict) -> config_dict.ConfigDict:
    """The recipe of another objective with this one's encoder, data, optimizer and length."""
    return base.borrowed(c, get_config())


def variant(c: config_dict.ConfigDict, arg: str, smoke) -> config_dict.ConfigDict:
    """As `base.variant`, of a recipe without a budget."""
    return base.variant(c, arg, smoke)
