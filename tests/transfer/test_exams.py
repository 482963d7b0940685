"""Which numbers the probes see: pooled over an utterance, over a word, over a passage."""

import dataclasses
import functools

import numpy as np
import pytest
from systems import small

from d2v_jax.common import trees
from d2v_jax.common.checks import UserError
from d2v_jax.data.labelled import baselines, sounds
from d2v_jax.data.labelled.sounds import labelled_waves
from d2v_jax.data.labelled.texts import labelled_texts
from d2v_jax.transfer import encoder, reading
from d2v_jax.transfer.probes import exams


@pytest.fixture(scope="module")
def voices():
    """An untrained encoder of sound."""
    recipe = small("v2_audio_base")
    rng = np.random.default_rng(0)
    near = lambda path, x: path.endswith("scale") + rng.normal(0, 0.1, x.shape).astype(np.float32)
    student = trees.map_with_path(near, reading.shapes_of(recipe))
    return encoder.Encoder(recipe, student, None, None, 0)


def test_frames_are_pooled_where_their_centres_lie():
    frames = np.arange(10, dtype=np.float32)[:, None]  # centres at 50, 150, ...
    words = [(7, 100, 300), (7, 149, 151), (8, 160, 170), (8, 0, 1000)]
    [(whole, means)] = sounds._pooled(lambda waves: [frames], 100, 100, [None], [[words]])
    assert whole == 4.5 and means.tolist() == [[1.5], [1], [1], [4.5]]


def one_name_each(labels, found, said_at):
    """The six features are among those known by name, and a label always has the same name."""
    assert len(found) == len(labels) == 6 and len(set(labels)) > 2
    meant = {}
    for label, found_d in zip(labels, found):
        names = {name for name, known_d in said_at if np.abs(found_d - known_d).max() < 1e-5}
        meant[label] = meant.get(label, names) & names
    assert all(meant.values()) and len(set.union(*meant.values())) >= len(meant)


def test_voice_word_and_phone(voices):
    exam = exams.prepare(voices.recipe, "builtin:tones", 6, 0)
    assert exam.baseline == "log-mel" and [t.name for t in exam.tasks] == ["voice", "word", "phone"]
    data = dataclasses.replace(
        voices.recipe.data, source="builtin:tones", samples=400, min_samples=400
    )
    source = data.records()
    parts = [labelled_waves(source, "builtin:tones", split, 6, 0) for split in ("train", "test")]
    voice, word, phone = exam.features(voices.features)
    assert np.array_equal(exam.tasks[0].labels[1], parts[1].labels)
    expected = voices.features(parts[1].waves)
    np.testing.assert_allclose(voice[1], expected, rtol=1e-4, atol=1e-5)
    # The words chosen are real ones, and their features are the means of their own frames.
    frames = voices.features(parts[0].waves, pool=None)
    said_at = []
    for frames_td, words in zip(frames, parts[0].said["word"]):
        centres_t = 320 * np.arange(len(frames_td)) + 200
        for name, first, last in words:
            mean_d = frames_td[(first <= centres_t) & (centres_t < last)].mean(0)
            said_at.append((name, mean_d))
    one_name_each(exam.tasks[1].labels[0].tolist(), word[0], said_at)
    # Of phones it is the one frame at whose centre they are said.
    said_at = []
    for frames_td, phones in zip(frames, parts[0].said["phone"]):
        for name, first, last in phones:
            near = frames_td[max(0, (first - 360) // 320) : (last + 120) // 320 + 1]
            said_at += [(name, frame_d) for frame_d in near]
    one_name_each(exam.tasks[2].labels[0].tolist(), phone[0], said_at)
    # The baseline: the same means, of log-mel frames.
    voice, word, _ = exam.features(None)
    assert voice[0].shape == word[1].shape == (6, 80)


def test_patches():
    recipe = small("quickstart_image")
    side, patch = recipe.data.image_size, recipe.frontend.patch_size
    exam = exams.prepare(recipe, "builtin:photos", 300, 0)
    assert [task.name for task in exam.tasks] == ["class", "patch"]
    columns = side // patch

    def encode(images, pool):
        """Of each patch its corner's colour, and where it lies."""
        assert pool is None and len(images) <= 256
        corners = images[:, ::patch, ::patch, 0].reshape(len(images), -1)
        places = np.broadcast_to(np.arange(columns**2), corners.shape)
        return np.stack([corners, places], -1).astype(np.float32)

    (mean, _), (one, other) = exam.features(encode)
    assert mean.shape == one.shape == (300, 2) and (mean[:, 1] == (columns**2 - 1) / 2).all()
    (pixels, _), (patches, _) = exam.features(None)
    assert pixels.shape[1] == side**2 * recipe.data.channels
    np.testing.assert_allclose(patches[:, 0] * 255, one[:, 0], rtol=1e-5)
    assert len(set(one[:, 1])) > 0.9 * columns**2 and not np.array_equal(one, other)
    row_n, column_n = np.divmod(one[:, 1].astype(int), columns)
    whole = pixels.reshape(300, side, side, -1)
    last = whole[np.arange(300), row_n * patch + patch - 1, column_n * patch + patch - 1]
    assert np.array_equal(patches[:, -recipe.data.channels :], last)


def test_documents(letters):
    exam = exams.prepare(letters.recipe, "builtin:python-docs", 10, 0)
    data = letters.recipe.data
    parts = labelled_texts(data.records("documents"), data.source, data.tokens, 10, 0)
    encode = functools.partial(letters.features, layer="all")
    [task], [(train, test)] = exam.tasks, exam.features(encode)
    assert exam.baseline == "tokens" and task.name == "document"
    assert np.array_equal(task.labels[1], parts[1].labels)
    np.testing.assert_allclose(test, letters.features(parts[1].texts, "all"), rtol=1e-5)
    [(train, _)] = exam.features(None)
    assert np.array_equal(train, baselines.token_counts(parts[0].texts, 261))


def test_several_sources_have_no_common_labels(voices):
    with pytest.raises(UserError, match="several sources.*--source"):
        exams.prepare(voices.recipe, "a + b", 10, 0)
