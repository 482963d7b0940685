"""Every field that only text has. The values are those of data2vec 2.0 base (REFERENCE §11)."""

from d2v_jax.configs import base
from ml_collections import config_dict


def get_config(arg: str = "") -> config_dict.ConfigDict:
    """Returns the base recipe. `arg` must be empty: variants belong to the recipes."""
    if arg:
        raise ValueError(f"the base configs/text.py takes no argument, got {arg!r}")
    c = base.get_config()
    c.recipe = c.modality = "text"

    # A folder of .txt, .jsonl or .parquet files, a file, "tfds:NAME", a folder that d2v data
    # prepare wrote, "builtin:python-docs"; several joined by " + ".
    c.data.source = "books-and-wikipedia"
    # "bytes" (261 ids: 4 specials, 256 bytes, `<mask>`), "builtin:python-docs" (4,096 ids learnt
    # from that), or a folder with vocab.json and merges.txt (GPT-2's format) or tokenizer.json and,
    # for released weights, fairseq's dict.txt, or with vocab.txt or tokenizer.json of BERT. Empty:
    # that of a folder with prepared text.
    c.data.tokenizer = "gpt2"
    c.data.threads = 1  # cutting blocks holds the GIL: more threads are slower
    c.data.column = "text"  # of JSONL, Parquet and TFDS sources
    c.data.tokens = 512  # of a block, `<s>` included
    # "contiguous": blocks ignore the borders of documents; "documents": whole sentences of one
    # document, padded; "pairs": those parted in two, half of them with sentences of another
    # document behind (sentences.next).
    c.data.blocks = "contiguous"
    c.data.words = False  # also say which ids go on with a word, for whole-word masks
    # Of labelled texts, a .tsv or .csv file: the columns of a text or of a pair, and of the label,
    # by name, or by number from 0 where the file has no line of names.
    c.data.columns = ("text",)
    c.data.label_column = "label"
    # Lengths that they are padded to, up to data.tokens, and the most tokens in a batch. ():
    # data.tokens alone.
    c.data.buckets = ()
    c.data.most_tokens = 4_400

    c.frontend.vocab_size = 50_265  # with specials: 0 `<s>`, 1 `<pad>`, 2 `</s>`, 3 `<unk>`
    # A table, added to the ids' embedding, of which padding takes no row: "learned"; or which
    # counts from 0: "absolute". "none": positions.bias must tell.
    c.frontend.positions = "learned"
    c.frontend.max_tokens = 512  # rows of the position table, without two that are never learned
    c.frontend.types = 0  # rows of a table of sentences' types, as BERT has; 0: none
    c.frontend.pad_id = 1
    c.frontend.mask_id = 50_264  # `<mask>`; 2.0 never shows it
    c.frontend.norm_eps = 1e-5  # of the layer norm behind the embeddings
    c.frontend.dropout = 0.1  # behind that; student and teacher share one draw (T5)

    c.positions.zero_padding = "never"
    c.trunk.input_norm = False
    c.trunk.dropout = c.trunk.attention_dropout = 0.1
    c.mask.share, c.mask.views = 0.48, 8
    c.decoder.layers, c.decoder.width, c.decoder.kernel, c.decoder.groups = 5, 768, 9, 1
    c.decoder.residual = False
    c.decoder.input_dropout = 0.1
    c.decoder.hidden = (1536,)
    c.decoder.init = "bert"
    c.loss.scale = 1.0
    c.teacher.decay_start, c.teacher.decay_steps = 0.9999, 100_000
    c.optimizer.learning_rate = 2e-4
    c.optimizer.warmup_steps = 4_000
    c.optimizer.clip = 1.0
    c.train.steps = 1_000_000
    c.train.batch_size = 64
    return c


def smoke(c: config_dict.ConfigDict) -> config_dict.ConfigDict:
    """Shrinks a recipe to thirty steps of seconds, keeping what makes it this recipe."""
    c = base.shrink_model(c)
    c.data.source, c.data.tokenizer = "builtin:python-docs", "bytes"
    c.data.tokens = c.frontend.max_tokens = 64
    c.frontend.vocab_size, c.frontend.mask_id = 261, 260
    return c
