"""The modality of a source, as far as names tell."""

import json

import pytest

from d2v_jax.common.checks import UserError
from d2v_jax.data.guess import modality_of


def test_names_tell(tmp_path, folder, sounds, texts):
    assert modality_of("builtin:tones") == modality_of(str(sounds)) == "audio"
    assert modality_of(str(folder)) == modality_of(f"{folder} + {sounds}") == "image"
    assert modality_of(str(texts)) == modality_of("builtin:python-docs") == "text"
    (sounds / "ann" / "a.trans.txt").write_text("what is said")
    assert modality_of(str(sounds)) == "audio"
    (tmp_path / "prepared.json").write_text(json.dumps({"modality": "text"}))
    assert modality_of(str(tmp_path)) == "text"
    assert modality_of("x/train.tsv") == "audio"
    assert modality_of("x-*.array_record") == "image"


def test_names_that_do_not_tell(tmp_path):
    for source in ("tfds:mine", "nowhere", str(tmp_path)):
        with pytest.raises(UserError, match=r"do not tell \(nothing of these\); say it with --mod"):
            modality_of(source)
    (tmp_path / "a.jpg").touch()
    (tmp_path / "a.wav").touch()
    with pytest.raises(UserError, match="1 images, 1 sound files|1 sound files, 1 images"):
        modality_of(str(tmp_path))
