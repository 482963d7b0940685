"""What `data.source` may say: the rules that the names of all modalities' sources follow."""

import difflib

from d2v_jax.common.checks import UserError

BUILTIN_PREFIX = "builtin:"
PHOTOS = "builtin:photos"
TONES = "builtin:tones"
SPEECH = "builtin:speech"
PYTHON_DOCS = "builtin:python-docs"


def named(source: str, known: str) -> str:
    """`source` without blanks around it; raises `UserError` where it is empty, `known` says what
    it may be.
    """
    source = source.strip()
    if not source:
        raise UserError(f"data.source is empty; give {known}")
    return source


def only_train(source: str, split: str) -> None:
    """Raises `UserError` for a split of a source that has none."""
    if split != "train":
        raise UserError(
            f"data.split={split!r}: only tfds:NAME sources have splits; leave it 'train' "
            f"for {source!r}"
        )


def check_builtin(source: str, *known: str) -> None:
    """Raises `UserError` unless `source` is one of the built-in sets of its modality."""
    if source in known:
        return
    sets = " and ".join(known)
    if source in (PHOTOS, SPEECH, TONES, PYTHON_DOCS):
        raise UserError(
            f"data.source={source!r} is of another modality than this recipe, which knows the "
            f"built-in {sets}"
        )
    near = difflib.get_close_matches(source, known, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]}?" if near else ""
    raise UserError(f"data.source={source!r}: there is no such built-in set; known: {sets}.{hint}")
