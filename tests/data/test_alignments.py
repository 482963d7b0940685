"""Times beside recordings, as TIMIT has them, and what is no such file."""

import numpy as np
import pytest
from sounds import tone, wav

from d2v_jax.common.checks import UserError
from d2v_jax.data.audio import alignments


@pytest.fixture
def recording(tmp_path):
    path = tmp_path / "SA1.WAV"
    path.write_bytes(wav(tone(8_000)))
    return path


def test_phones_and_words(recording):
    assert alignments.beside(recording) == {}
    recording.with_suffix(".PHN").write_text("0 2000 h#\n2000 3000 sh\n\n")
    recording.with_suffix(".wrd").write_text("2000 3000 she\n")
    said = alignments.beside(recording)
    assert said == {"phone": [("h#", 0, 2000), ("sh", 2000, 3000)], "word": [("she", 2000, 3000)]}


def test_times_are_of_the_recordings_own_rate(tmp_path):
    import soundfile

    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(8_000, np.float32), 8_000)
    path.with_suffix(".phn").write_text("4000 8000 a\n")
    assert alignments.beside(path) == {"phone": [("a", 8000, 16000)]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"0 10 a\nhello\n", "line 2: 'hello' is not FIRST LAST LABEL"),
        (b"10 0 a\n", "line 1"),
        (b"0.1 0.2 a\n", "line 1"),
        (b"0 10 \xe9\n", "must be UTF-8"),
    ],
)
def test_what_is_none(recording, content, message):
    recording.with_suffix(".phn").write_bytes(content)
    with pytest.raises(UserError, match=message):
        alignments.beside(recording)
