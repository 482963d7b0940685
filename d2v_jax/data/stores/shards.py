"""ArrayRecord files: encoded pictures, or tf.train.Example messages that hold one."""

import glob
import os

from array_record.python.array_record_data_source import ArrayRecordDataSource

from d2v_jax.common.checks import UserError, require_utf8
from d2v_jax.data.image.pictures import IMAGES
from d2v_jax.data.records import BadRecord, Record, fingerprint_of

# The features that may hold the picture and its class, in the order they are looked for.
IMAGE_KEYS = ("image", "image/encoded")
LABEL_KEYS = ("label", "image/class/label")
RECORDS = ".array_record"  # in the names of such files
MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF")  # jpeg, png, webp


def looks_like_shards(source: str) -> bool:
    """Whether `source` is meant as ArrayRecord files: a pattern, a list, or such a file."""
    if os.path.isdir(os.path.expanduser(source)):
        return False
    return RECORDS in source or "," in source or glob.has_magic(source)


class Shards:
    """Records of ArrayRecord files in the order of the files' paths."""

    class_names = None

    def __init__(self, source: str):
        """`source`: a glob pattern, or files and patterns separated by commas."""
        self.paths = _find(source)
        try:
            self._records = ArrayRecordDataSource(self.paths)
        except (RuntimeError, ValueError, OSError) as error:
            raise UserError(_cannot_open(source, self.paths)) from error
        if not len(self._records):
            raise UserError(f"data.source={source!r}: the ArrayRecord files hold no records")
        sizes = [(os.path.basename(path), os.path.getsize(path)) for path in self.paths]
        self.fingerprint = fingerprint_of(("shards", len(self._records), *sizes))
        self._name = os.path.basename(self.paths[0]) if len(self.paths) == 1 else source

    def __len__(self) -> int:
        return len(self._records)

    def read(self, index: int) -> Record:
        name = f"{self._name} record {index}"
        try:
            data = self._records[index]
        except (RuntimeError, ValueError, OSError, IndexError) as error:
            raise BadRecord(f"unreadable ArrayRecord chunk: {_first_line(error)}", name) from error
        if data.startswith(MAGIC):
            return Record(data, None, name)
        image, label = _from_example(data, name)
        return Record(image, label, name)


def _from_example(data: bytes, name: str) -> tuple[bytes, int | None]:
    """Picture and class of a serialised tf.train.Example."""
    # Late, because importing the package takes about a second.
    from google.protobuf.message import DecodeError
    from tensorflow_datasets.proto import tf_example_pb2

    try:
        feature = tf_example_pb2.Example.FromString(data).features.feature
    except DecodeError as error:
        raise BadRecord(
            "neither a jpeg, png or webp picture nor a tf.train.Example", name
        ) from error
    label = None
    for key in LABEL_KEYS:
        if key in feature and feature[key].int64_list.value:
            label = int(feature[key].int64_list.value[0])
            break
    for key in IMAGE_KEYS:
        if key in feature and feature[key].bytes_list.value:
            return feature[key].bytes_list.value[0], label
    held = ", ".join(sorted(feature)[:8]) or "none"
    raise BadRecord(f"no feature {' or '.join(IMAGE_KEYS)} in the example (it has: {held})", name)


def _find(source: str) -> list[str]:
    paths: list[str] = []
    for part in filter(None, (part.strip() for part in source.split(","))):
        pattern = os.path.expanduser(part)
        found = [pattern] if os.path.isfile(pattern) else sorted(glob.glob(pattern, recursive=True))
        folders = [path for path in found if os.path.isdir(path)]
        found = [path for path in found if os.path.isfile(path)]
        if not found and folders:
            raise UserError(
                f"data.source={source!r}: {part!r} matches folders only, and patterns are for "
                f"ArrayRecord files. For pictures give one folder, such as {folders[0]!r} or the "
                "one above"
            )
        if not found:
            folder = os.path.dirname(pattern.split("*")[0].split("?")[0]) or "."
            there = "exists" if os.path.isdir(folder) else "does not exist"
            raise UserError(
                f"data.source={source!r}: {part!r} matches no file (the folder {folder!r} {there})."
                " Give the ArrayRecord files, for example data/train-*.array_record"
            )
        for path in found:
            require_utf8(path, "ArrayRecord files")
        paths += found
    return paths


def _cannot_open(source: str, paths: list[str]) -> str:
    pictures = [path for path in paths if path.lower().endswith(IMAGES.suffixes)]
    if pictures:
        return (
            f"data.source={source!r} matches pictures such as {pictures[0]!r}; patterns are for "
            "ArrayRecord files. Give the folder that holds the pictures"
        )
    for path in paths:
        try:
            ArrayRecordDataSource([path])
        except (RuntimeError, ValueError, OSError) as error:
            return (
                f"data.source={source!r}: {path!r} is not a readable ArrayRecord file "
                f"({_first_line(error)}); it may be damaged, incomplete or of another format "
                "(TFRecord files must be converted)"
            )
    return f"data.source={source!r}: the files could not be opened as ArrayRecord"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]
