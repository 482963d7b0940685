"""Every field that only contrastive predictive coding has. The values are those of CPC_audio."""

from d2v_jax.configs import audio, wav2vec2
from ml_collections import config_dict


def get_config() -> config_dict.ConfigDict:
    """The base of recipes for contrastive predictive coding."""
    c = audio.get_config()
    for section in wav2vec2.UNUSED:
        del c[section]
    c.recipe, c.objective = "cpc", "cpc"
    c.frontend.conv_style = "cpc"
    c.frontend.conv_layers = ((256, 10, 5), (256, 8, 4), (256, 4, 2), (256, 4, 2), (256, 4, 2))
    c.positions.add, c.positions.bias = "none", "none"
    c.trunk.block, c.trunk.width, c.trunk.depth = "lstm", 256, 1
    c.trunk.heads = 8  # says nothing
    c.trunk.input_norm = False
    c.trunk.input_dropout = c.trunk.dropout = c.trunk.attention_dropout = c.trunk.layer_drop = 0.0
    c.trunk.dtype = "float32"
    c.mask.hide, c.mask.views = "none", 1
    # Crops of several windows of one utterance stand for the original's batches of one speaker.
    c.data.samples, c.data.min_samples = 8 * 20_480, 2 * 20_480
    c.data.buckets = (2 * 20_480, 4 * 20_480, 8 * 20_480)
    c.optimizer.learning_rate, c.optimizer.b2, c.optimizer.eps = 2e-4, 0.999, 1e-8
    c.optimizer.adam, c.optimizer.weight_decay = "torch", 0.0
    c.optimizer.schedule, c.optimizer.warmup_steps, c.optimizer.end_share = "linear", 0, 1.0

    c.future = config_dict.ConfigDict()
    c.future.window = 20_480  # samples that are heard by themselves; crops are multiples of it
    c.future.steps = 12  # how far ahead is guessed, in frames; a predictor for each step
    c.future.negatives = (
        128  # other frames that each guess is compared with, the same for all steps
    )
    # "linear": a product; "transformer": a causal layer, which needs `trunk.width` to be that of
    # the convolutions and has the next three fields.
    c.future.predictor = "transformer"
    c.future.heads = 8
    c.future.hidden = 2048
    c.future.dropout = 0.1
    return c


def smoke(c: config_dict.ConfigDict) -> config_dict.ConfigDict:
    """Thirty steps of seconds."""
    block = c.trunk.block
    c = audio.smoke(c)
    c.trunk.block, c.trunk.depth, c.trunk.width = block, 1, 32
    c.frontend.conv_layers = tuple((32, *rest) for _, *rest in c.frontend.conv_layers)
    c.data.samples, c.data.min_samples = 4 * 3_200, 4 * 3_200
    c.future.window, c.future.steps, c.future.negatives = 3_200, 4, 8
    c.future.heads, c.future.hidden = 4, 32
    c.optimizer.learning_rate = 5e-3
    return c
