"""From the name of a source of text to its documents."""

from d2v_jax.data.builtin import pydocs
from d2v_jax.data.sources import BUILTIN_PREFIX, PYTHON_DOCS, check_builtin, named, only_train
from d2v_jax.data.stores import tfds_source
from d2v_jax.data.text.documents import Texts
from d2v_jax.data.text.textfiles import TEXTS, TextFiles
from d2v_jax.data.text.tfds_text import TfdsText


def open_documents(source: str, split: str, column: str) -> Texts:
    """Opens whatever `TEXTS.sources` names, but for what is prepared."""
    name = named(source, TEXTS.sources)
    if name.startswith(tfds_source.PREFIX):
        return TfdsText(name, split, column)
    only_train(source, split)
    if name.startswith(BUILTIN_PREFIX):
        check_builtin(name, PYTHON_DOCS)
        return pydocs.PythonDocs()
    return TextFiles(name, column)
