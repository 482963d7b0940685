"""Utterances with labels and, where they are known, words."""

import logging

import numpy as np
import pytest
from sounds import tone, wav

from d2v_jax.common.checks import UserError
from d2v_jax.data.builtin.tones import Tones
from d2v_jax.data.labelled import sounds
from d2v_jax.data.labelled.sounds import labelled_waves


def both(cfg, count=1000, seed=0):
    source = cfg.records()
    return [labelled_waves(source, cfg.source, split, count, seed) for split in ("train", "test")]


def test_folder_is_divided_once_and_for_all(audio, sounds):
    train, test = both(audio(sounds))
    assert sorted([*train.ids, *test.ids]) == list(range(12)) and len(train.ids) > len(test.ids) > 0
    for part in (train, test):
        assert np.array_equal(part.labels, part.ids >= 6) and not part.said
        assert all(wave.dtype == np.int16 and len(wave) == 8_000 for wave in part.waves)
    again, _ = both(audio(sounds), 4, 1)
    assert len(again.ids) == 4 and set(again.ids) <= set(train.ids)
    (sounds / "ann" / "zz.wav").write_bytes(wav(tone(8_000)))  # moves nothing to the other part
    _, later = both(audio(sounds), seed=1)
    assert {int(i) + (i >= 6) for i in test.ids} == set(later.ids.tolist()) - {6}


def test_words_lie_where_they_are_said(audio):
    tones = Tones()
    train, test = both(audio("builtin:tones", samples=40_000), 6)
    kept = np.flatnonzero(tones.lengths >= 40_000)  # records are numbered without the others
    for part in (train, test):
        for index, wave_s, label, words in zip(
            kept[part.ids], part.waves, part.labels, part.said["word"]
        ):
            script = tones.script(int(index))
            assert np.array_equal(wave_s, tones.read(int(index)).data)
            assert label == script.voice and words == list(script.words) and words
    assert not set(train.ids) & set(test.ids)


def test_long_utterances_are_cut_with_their_words(audio, monkeypatch):
    whole, _ = both(audio("builtin:tones"), 8)
    monkeypatch.setattr(sounds, "LONGEST", 20_000)
    cut, _ = both(audio("builtin:tones"), 8)
    assert max(map(len, whole.waves)) > max(map(len, cut.waves)) == 20_000
    for words, fewer in zip(whole.said["word"], cut.said["word"]):
        assert fewer == [word for word in words if word[2] <= 20_000]


def test_bad_recordings_are_left_out_with_a_warning(audio, sounds, caplog):
    for number in (0, 7):
        path = next(sounds.rglob(f"{number:02d}.wav"))
        path.write_bytes(path.read_bytes()[:-300])
    with caplog.at_level(logging.WARNING, "d2v"):
        parts = both(audio(sounds))
    assert sum(len(part.ids) for part in parts) == 10
    assert sum("truncated" in line.getMessage() for line in caplog.records) == 2


def test_what_cannot_be_probed(audio, sounds):
    with pytest.raises(UserError, match="'train' or 'test'"):
        labelled_waves(audio(sounds).records(), "x", "valid", 10, 0)
    for path in sorted(sounds.rglob("*.wav"))[1:]:
        path.unlink()
    with pytest.raises(UserError, match=r"too small: none of its 1 recordings.*--source"):
        both(audio(sounds))
    (sounds / "loose.wav").write_bytes(wav(tone(8_000)))
    with pytest.raises(UserError, match=r"has no labels.*one sub-folder per speaker"):
        both(audio(sounds))
