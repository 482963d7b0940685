"""tokenizer.json, in which the `tokenizers` library keeps a tokenizer whole."""

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import tokenizers

from d2v_jax.common.files import write_whole
from d2v_jax.data.text.rows import BOS, EOS

WHOLE, SETTINGS = "tokenizer.json", "tokenizer_config.json"
NAMES = ("<s>", "<pad>", "</s>", "<unk>")  # of ids 0 to 3
MASK = "<mask>"
# What the roles of special tokens are called in SETTINGS.
ROLES = {"bos": 0, "cls": 0, "pad": 1, "eos": 2, "sep": 2, "unk": 3}


def model_of(folder: pathlib.Path) -> Mapping[str, Any]:
    """The part of tokenizer.json that says what it is; empty where it says nothing."""
    try:
        found = json.loads((folder / WHOLE).read_text(encoding="utf-8"))["model"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def opened(folder: pathlib.Path) -> tokenizers.Tokenizer:
    """What the file says, but for its special tokens, which no text may spell.

    Raises what the library raises, bare exceptions among it.
    """
    found = tokenizers.Tokenizer.from_file(str(folder / WHOLE))
    bare = tokenizers.Tokenizer(found.model)
    bare.normalizer, bare.pre_tokenizer = found.normalizer, found.pre_tokenizer
    return bare


def before(tokenizer: tokenizers.Tokenizer) -> list[str]:
    """What happens to a text before its words are looked up, as the library writes it."""
    parts = (tokenizer.normalizer, tokenizer.pre_tokenizer)
    return [str(part.__getstate__()) for part in parts if part is not None]


def bpe(
    types: Mapping[str, int], merges: Sequence[Any], like: tokenizers.Tokenizer, mask_id: int
) -> tokenizers.Tokenizer:
    """Byte-level BPE as transformers has it: `<s>` in front of a text, `</s>` behind.

    `types` gives final ids; those below `mask_id` that no type has get names that no text spells.
    `merges` as the library writes them; a text is split as `like` does.
    """
    names = {number: f"madeupword{number:04d}" for number in range(mask_id)}
    names |= {number: text for text, number in types.items() if text != MASK}
    names |= dict(enumerate(NAMES)) | {mask_id: MASK}
    vocab = {names[number]: number for number in sorted(names)}
    pairs = [tuple(pair.split(" ") if isinstance(pair, str) else pair) for pair in merges]
    made = tokenizers.Tokenizer(tokenizers.models.BPE(vocab, pairs))
    made.normalizer, made.pre_tokenizer = like.normalizer, like.pre_tokenizer
    made.decoder = tokenizers.decoders.ByteLevel()
    made.add_special_tokens([*NAMES, MASK])
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", BOS), ("</s>", EOS)],
    )
    return made


def write(folder: pathlib.Path, made: tokenizers.Tokenizer) -> None:
    """What `bpe` made, and beside it the names of its special tokens."""
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / WHOLE, made.to_str(pretty=True))
    roles = {f"{role}_token": NAMES[number] for role, number in ROLES.items()}
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", **roles, "mask_token": MASK}
    write_whole(folder / SETTINGS, json.dumps(settings, indent=2) + "\n")
