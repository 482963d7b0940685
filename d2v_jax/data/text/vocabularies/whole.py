"""tokenizer.json, in which the `tokenizers` library keeps a tokenizer whole."""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

import tokenizers

WHOLE = "tokenizer.json"


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
