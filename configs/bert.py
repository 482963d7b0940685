"""Every field that BERT and RoBERTa have (arXiv:1810.04805, 1907.11692), with BERT base's values.

`sized` makes the published sizes of it, `roberta` what RoBERTa changes.
"""

from d2v_jax.configs import base, text
from ml_collections import config_dict


def get_config(arg: str = "") -> config_dict.ConfigDict:
    """Returns the base recipe. `arg` must be empty: variants belong to the recipes."""
    if arg:
        raise ValueError(f"the base configs/bert.py takes no argument, got {arg!r}")
    c = text.get_config()
    c.recipe = c.objective = "bert"
    for section in ("decoder", "targets", "loss", "teacher"):
        del c[section]
    c.frontend.vocab_size, c.frontend.mask_id = 30_522, 30_521
    c.frontend.positions, c.frontend.types = "absolute", 2
    c.frontend.norm_eps = c.trunk.norm_eps = 1e-12
    c.mask.hide, c.mask.kind, c.mask.share, c.mask.views = "input", "random", 0.15, 1

    c.corruption = config_dict.ConfigDict()
    # How many of a text's tokens are chosen: "bert", round(mask.share * length), at least one;
    # "roberta", the same rounded up or down at random, special tokens among them.
    c.corruption.rule = "bert"
    c.corruption.words = False  # whole words are chosen; needs data.words
    c.corruption.most = 77  # chosen of one text, at most; "bert" only
    c.corruption.mask_share = 0.8  # of what is chosen becomes `<mask>`
    c.corruption.random_share = 0.1  # becomes any other token; the rest stays
    c.corruption.kept = (0, 2)  # ids that are never chosen: `<s>` and `</s>`
    c.corruption.separator = 2  # the id that ends the first part of a pair

    c.sentences = config_dict.ConfigDict()
    # Does the second part of a pair follow the first? The class of a labelled pair answers, or
    # data.blocks="pairs" does.
    c.sentences.next = True

    # A table of pairs: two columns, and a label "next" or "random" (in this order).
    c.data.source = "pairs.tsv"
    c.data.columns, c.data.labels = ("first", "second"), "class"
    c.data.label_names = ("next", "random")
    c.data.most_tokens = 512 * 256
    c.optimizer.learning_rate, c.optimizer.schedule = 1e-4, "linear"
    c.optimizer.adam, c.optimizer.decays = "torch", "matrices"
    c.optimizer.b2, c.optimizer.warmup_steps, c.optimizer.clip = 0.999, 10_000, 1.0
    c.train.steps, c.train.batch_size = 1_000_000, 256
    return c


def single(c: config_dict.ConfigDict) -> config_dict.ConfigDict:
    """Blocks of text without labels, and no question of what follows."""
    c.sentences.next = False
    c.data.source, c.data.columns, c.data.labels = "books-and-wikipedia", ("text",), "none"
    c.data.label_names, c.data.most_tokens = (), 4_400
    return c


def roberta() -> config_dict.ConfigDict:
    """RoBERTa base: no pairs, types of one row, positions that skip padding, another count."""
    c = single(get_config())
    c.frontend.vocab_size, c.frontend.mask_id = 50_265, 50_264
    c.frontend.positions, c.frontend.types = "learned", 1
    c.frontend.norm_eps = c.trunk.norm_eps = 1e-5
    c.corruption.rule, c.corruption.kept = "roberta", ()
    c.optimizer.learning_rate = 6e-4
    c.optimizer.b2, c.optimizer.warmup_steps, c.optimizer.clip = 0.98, 24_000, 0.0
    c.optimizer.decays = "all"
    c.train.steps, c.train.batch_size = 500_000, 8192
    return c


def large(c: config_dict.ConfigDict) -> config_dict.ConfigDict:
    """The large size of either."""
    c.trunk.width, c.trunk.depth, c.trunk.heads = 1024, 24, 16
    return c


def variant(
    c: config_dict.ConfigDict, arg: str, shrink: int = 4, micro_batches: int = 2
) -> config_dict.ConfigDict:
    """`arg`: "", "smoke" or "budget"."""
    return base.variant(c, arg, smoke, shrink, micro_batches)


def smoke(c: config_dict.ConfigDict) -> config_dict.ConfigDict:
    """Thirty steps of seconds, on single texts: pairs need a table of yours."""
    c = text.smoke(single(c))
    c.corruption.most = 20
    return c
