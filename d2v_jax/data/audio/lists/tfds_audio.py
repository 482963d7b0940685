"""Sound in data sets prepared by TensorFlow Datasets, read without TensorFlow.

TFDS itself cannot open these without it: its feature `Audio` needs TensorFlow merely to exist. So
the description beside the shards is read here, and their tf.train.Examples are taken as they are.
"""

import json
import logging
import pathlib
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import soxr
from array_record.python.array_record_data_source import ArrayRecordDataSource

from d2v_jax.common.checks import UserError
from d2v_jax.common.files import cache_folder, write_whole
from d2v_jax.data.audio.sound_files import RATE, RATES, header
from d2v_jax.data.progress import logged
from d2v_jax.data.records import BadRecord, Record, fingerprint_of
from d2v_jax.data.stores.folder import numbered
from d2v_jax.data.stores.tfds_folder import find, split_instructions
from d2v_jax.data.stores.tfds_packed import packed_example

log = logging.getLogger("d2v")

# Features are looked for in this order.
SOUND_KEYS = ("audio", "speech", "sound", "wave", "waveform", "flac", "wav")
TEXT_KEYS = ("text", "transcript", "transcription", "sentence")
SPEAKER_KEYS = ("speaker_id", "speaker")
UNKNOWN = -1  # length of a record that is damaged: reading it reports the fault
AT_ONCE = 16  # records read together when measuring
INT32_FULL = 2.0**31


class TfdsAudio:
    """The sounds of one split.

    `Record.text` is the transcript, the class that of the feature "label", else the speaker.
    """

    def __init__(self, source: str, split: str):
        """Raises `UserError` where the data set is not prepared, or holds no sound.

        The first time, every record is read once to learn its length.
        """
        folder = find(source)
        described = json.loads((folder / "features.json").read_text(encoding="utf-8"))
        features = described.get("featuresDict", {}).get("features", {})
        self._key = _sound_feature(source, features)
        self._spec = _Spec(features[self._key])
        self._text_key = next((key for key in TEXT_KEYS if key in features), None)
        self._label_key = "label" if "label" in features else None
        speaker_key = next((key for key in SPEAKER_KEYS if key in features), None)
        if not self._spec.rate:
            log.info("%s does not say how many samples a second has: 16,000 are assumed", source)
        instructions, parts = split_instructions(source, folder, split)
        self._records: Any = ArrayRecordDataSource(instructions)
        self._name = f"{source} {split}"
        self.fingerprint = fingerprint_of(("tfds audio", source, split, self._key, *parts))
        self.lengths, speaker_n = self._measured(None if self._label_key else speaker_key)
        self.class_names = _class_names(folder, self._label_key) if self._label_key else None
        self._speakers: np.ndarray | None = None
        if speaker_n:
            self.class_names, self._speakers = numbered(speaker_n)

    def __len__(self) -> int:
        return len(self._records)

    def name(self, index: int) -> str:
        """That of record `index`, without reading it."""
        return f"{self._name} record {index}"

    def read(self, index: int) -> Record:
        from google.protobuf.message import DecodeError
        from tensorflow_datasets.proto import tf_example_pb2

        name = self.name(index)
        try:
            feature = tf_example_pb2.Example.FromString(self._records[index]).features.feature
        except (RuntimeError, ValueError, OSError, IndexError, DecodeError) as error:
            raise BadRecord(f"unreadable record: {_line(error)}", name) from error
        if self._key not in feature:
            raise BadRecord(f"no feature {self._key!r}", name)
        text = None
        if self._text_key and feature[self._text_key].bytes_list.value:
            text = feature[self._text_key].bytes_list.value[0].decode(errors="replace")
        label = None if self._speakers is None else int(self._speakers[index])
        if self._label_key and feature[self._label_key].int64_list.value:
            label = int(feature[self._label_key].int64_list.value[0])
        try:
            data = self._spec.sound(feature[self._key])
        except (ValueError, zlib.error) as error:
            raise BadRecord(f"unreadable feature {self._key!r}: {_line(error)}", name) from error
        return Record(data, None if label is None or label < 0 else label, name, text)

    def _measured(self, speaker_key: str | None) -> tuple[np.ndarray, list[str]]:
        """Lengths int64 [n] at 16 kHz, and who speaks; read from all records, or remembered."""
        kept = cache_folder() / "lengths" / f"{self.fingerprint}.json"
        try:
            found = json.loads(kept.read_text())
            if len(found["lengths"]) == len(self):
                return np.array(found["lengths"], np.int64), found["speakers"]
        except (OSError, ValueError, KeyError, TypeError):
            pass  # not there, or damaged: it is written anew
        lengths, speakers = [], []
        doing = f"measuring {self._name} (once, then kept in {kept.parent})"
        for raw in logged(self._all(), doing, len(self)):
            length, speaker = self._measure(raw, speaker_key)
            lengths.append(length)
            if speaker_key:
                speakers.append(speaker)
        try:
            write_whole(kept, json.dumps({"lengths": lengths, "speakers": speakers}).encode())
        except OSError as error:
            log.warning("cannot keep lengths in %s: %s", kept, error.strerror)
        return np.array(lengths, np.int64), speakers

    def _all(self) -> Iterator[bytes]:
        """Every record as it is stored, b"" where it cannot be read."""
        for first in range(0, len(self), AT_ONCE):
            wanted = range(first, min(first + AT_ONCE, len(self)))
            try:
                yield from self._records.__getitems__(list(wanted))
            except (RuntimeError, ValueError, OSError, IndexError):  # one of them is damaged
                yield from map(self._one, wanted)

    def _one(self, index: int) -> bytes:
        try:
            return self._records[index]
        except (RuntimeError, ValueError, OSError, IndexError):
            return b""

    def _measure(self, raw: bytes, speaker_key: str | None) -> tuple[int, str]:
        from google.protobuf.message import DecodeError

        try:
            features = {entry.key: entry.value for entry in packed_example(raw)}
        except DecodeError:
            return UNKNOWN, ""
        speaker = ""
        if speaker_key in features:
            speaker = _scalar(features[speaker_key])
        if self._key not in features:
            return UNKNOWN, speaker
        return self._spec.length(features[self._key]), speaker


class _Spec:
    """How a feature holds sound: as a file's bytes, as a list of samples, or as their bytes."""

    def __init__(self, node: dict[str, Any]):
        """`node`: of features.json, an Audio or a Tensor."""
        fields = node.get("audio") or node.get("tensor") or {}
        self.rate = int(fields.get("sampleRate") or 0)
        self._per_second = self.rate or RATE
        dimensions = [int(n) for n in fields.get("shape", {}).get("dimensions", ())]
        self.lazy = bool(fields.get("lazyDecode")) or (
            fields.get("dtype") == "string" and not dimensions
        )
        self._channels = dimensions[1] if len(dimensions) == 2 else 1
        self._encoding = fields.get("encoding", "none").lower()
        self.dtype = np.dtype(fields.get("dtype", "int64")) if not self.lazy else None
        self.is_sound = self.lazy or (
            len(dimensions) in (1, 2) and self._channels > 0 and self.dtype.kind in "if"
        )

    def sound(self, feature: Any) -> bytes | np.ndarray:
        """What `Record.data` is to be."""
        if self.lazy:
            return feature.bytes_list.value[0]
        if self._encoding == "none":
            values = feature.float_list.value or feature.int64_list.value
            wave = np.array(values, self.dtype)
        else:
            wave = np.frombuffer(self._buffer(feature.bytes_list.value[0]), self.dtype)
        wave = wave.reshape(-1, self._channels)
        if wave.dtype.kind == "i":
            wide = wave.size and max(int(wave.max()), -1 - int(wave.min())) > 32_767
            if self._channels == 1 and not wide and self._per_second == RATE:
                return wave[:, 0].astype(np.int16)
            wave = wave / (INT32_FULL if wide else 32_768)
        wave_s = wave.mean(axis=1).astype(np.float32)
        if self._per_second != RATE and np.isfinite(wave_s).all():
            wave_s = soxr.resample(wave_s, self._per_second, RATE)
        return wave_s

    def length(self, feature: Any) -> int:
        """Samples at 16 kHz, of a feature as `packed_example` has it."""
        if self.lazy:
            return _length(feature.bytes_list.value[0]) if feature.bytes_list.value else UNKNOWN
        if self._encoding != "none":
            try:
                size = len(self._buffer(feature.bytes_list.value[0])) // self.dtype.itemsize
            except (IndexError, zlib.error):
                return UNKNOWN
        elif feature.float_list.value:
            size = len(feature.float_list.value) // 4
        else:  # the last byte of each number is below 128
            packed = np.frombuffer(feature.int64_list.value, np.uint8)
            size = int(np.count_nonzero(packed < 128))
        return size // self._channels * RATE // self._per_second if size else UNKNOWN

    def _buffer(self, data: bytes) -> bytes:
        return zlib.decompress(data) if self._encoding == "zlib" else data


def _length(data: bytes) -> int:
    try:
        frames, rate = header(data)
    except BadRecord:
        return UNKNOWN
    if frames is None or not RATES[0] <= rate <= RATES[1]:
        return UNKNOWN
    return frames * RATE // rate


def _sound_feature(source: str, features: dict[str, Any]) -> str:
    """The name of the feature with the sound."""
    audio = [key for key, node in features.items() if "audio" in node]
    named = [key for key in SOUND_KEYS if key in features]
    for key in (*(key for key in named if key in audio), *sorted(audio), *named):
        if _Spec(features[key]).is_sound:
            return key
    raise UserError(
        f"data.source={source!r} has no feature with sound (it has: "
        f"{', '.join(sorted(features))}): an Audio, or one named {' or '.join(SOUND_KEYS)} that "
        "holds a file's bytes or samples. Choose a data set of sound"
    )


def _class_names(folder: pathlib.Path, key: str) -> tuple[str, ...] | None:
    try:
        return tuple((folder / f"{key}.labels.txt").read_text(encoding="utf-8").splitlines())
    except OSError:
        return None


def _scalar(feature: Any) -> str:
    """A number or a text, of a feature as `packed_example` has it, as text."""
    if feature.bytes_list.value:
        return feature.bytes_list.value[0].decode(errors="replace")
    bits = sum((byte & 127) << (7 * place) for place, byte in enumerate(feature.int64_list.value))
    return str(bits - 2**64 if bits >= 2**63 else bits)


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]
