"""Every field that only HuBERT has. The values are those of its base model, second iteration."""

from d2v_jax.configs import audio, wav2vec2
from ml_collections import config_dict


def get_config() -> config_dict.ConfigDict:
    """The base of recipes for HuBERT."""
    c = wav2vec2.encoder()
    c.recipe, c.objective = "hubert", "hubert"
    c.mask.share = 0.8
    c.mask.neighbours = 5  # utterances that shared a device
    c.optimizer.clip = 10.0

    c.clusters = config_dict.ConfigDict()
    # Classes of each label set, one for each cluster and `special` in front that nothing belongs
    # to: the originals' dictionaries begin with four symbols, and their models have rows for them.
    c.clusters.classes = (504,)
    c.clusters.special = 4
    c.clusters.rate = 50.0  # labels per second: 100 of MFCCs, 50 of a model's layer
    c.clusters.projected = 256  # in which predictions and clusters are compared
    c.clusters.untied = True  # a projection for each label set
    c.clusters.temperature = 0.1  # cosines are divided by it
    c.clusters.hidden = 1.0  # weight of the loss at hidden frames
    c.clusters.shown = 0.0  # and at the others
    c.clusters.penalty = 10.0  # weight of the mean square of what the convolutions give
    c.clusters.input_dropout = 0.1  # of the tokens
    return with_units(c, ("units",))


def with_units(c: config_dict.ConfigDict, units: tuple[str, ...]) -> config_dict.ConfigDict:
    """The recipe on these label sets; what is set in `clusters` holds for its data too."""
    c.data.units = units
    for name in ("rate", "classes", "special"):
        c.data[f"unit_{name}"] = c.clusters.get_ref(name)
    return c


def smoke(c: config_dict.ConfigDict) -> config_dict.ConfigDict:
    """Thirty steps of seconds."""
    c = audio.smoke(c)
    c.positions.conv_kernel = 16
    c.clusters.classes = tuple(23 + c.clusters.special for _ in c.clusters.classes)
    c.clusters.projected = 16
    c.data.units = tuple("builtin:bands" for _ in c.clusters.classes)
    return c
