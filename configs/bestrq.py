"""Every field that only BEST-RQ has, with the encoder and the training of its recipes."""

from d2v_jax.configs import audio, wav2vec2
from ml_collections import config_dict


def get_config() -> config_dict.ConfigDict:
    """The base of recipes for BEST-RQ: tokens of 40 ms, as the paper's."""
    c = wav2vec2.encoder()
    c.recipe, c.objective = "best_rq", "best_rq"
    c.frontend.conv_layers = (*c.frontend.conv_layers, (512, 2, 2))
    c.frontend.conv_norm, c.frontend.gradient = "each", 1.0
    c.positions.conv_kernel = 64
    # Spans of 400 ms, one beginning at each frame of 10 ms with probability 0.01.
    c.mask.hide, c.mask.share, c.mask.neighbours = "noise", 0.4, 1
    c.optimizer.warmup_steps, c.optimizer.eps, c.optimizer.clip = 25_000, 1e-9, 10.0
    c.optimizer.adam = "torch"

    c.codes = config_dict.ConfigDict()
    c.codes.seed = 0  # projections and codebooks follow from it and are never trained
    c.codes.books = 1  # codebooks, each with a projection of its own
    c.codes.entries = 8192  # of each
    c.codes.width = 16  # in which features and entries are compared
    c.codes.bands = 80  # of the log-mel frames whose codes are to be named
    c.codes.noise = 0.1  # deviation of the noise in hidden places; that of waves is 1
    return c


def smoke(c: config_dict.ConfigDict) -> config_dict.ConfigDict:
    """Thirty steps of seconds."""
    c = audio.smoke(c)
    c.positions.conv_kernel = 16
    c.mask.block = 4
    c.codes.entries, c.codes.width, c.codes.bands = 32, 8, 20
    return c
