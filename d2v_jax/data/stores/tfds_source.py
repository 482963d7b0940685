"""Data sets prepared by TensorFlow Datasets, read without TensorFlow."""

import difflib
import os
from typing import Any

from d2v_jax.common.checks import UserError
from d2v_jax.data.records import BadRecord, Record, fingerprint_of

PREFIX = "tfds:"
DEFAULT_DIR = "~/tensorflow_datasets"  # where TFDS looks by itself


def splits(source: str) -> tuple[str, ...]:
    """The split names of a prepared data set, `source` being "tfds:NAME"."""
    return tuple(_builder(source).info.splits)


class Tfds:
    """One split of a prepared data set. `source` is "tfds:NAME"; pictures stay encoded."""

    def __init__(self, source: str, split: str):
        """Raises `UserError` where the data set is unknown, not prepared or has no images."""
        import tensorflow_datasets as tfds  # takes a second, and not everybody needs it

        info = _builder(source).info
        if "image" not in info.features:
            raise UserError(
                f"data.source={source!r} has no feature 'image' (it has: "
                f"{', '.join(sorted(info.features))}); choose a data set of images"
            )
        try:
            self._records: Any = tfds.data_source(
                source.removeprefix(PREFIX),
                split=split,
                decoders={"image": tfds.decode.SkipDecoding()},
                data_dir=_data_dir(),
                download=False,
            )
        except (ValueError, NotImplementedError) as error:
            if "split" in str(error):
                known = ", ".join(info.splits)
                raise UserError(
                    f"data.split={split!r}: {source!r} has the splits {known}; a part of one is "
                    "written train[:90%]"
                ) from error
            raise UserError(
                f"data.source={source!r} cannot be read record by record: {_first_line(error)} "
                "Prepare it again with file_format='array_record', or convert it where TensorFlow "
                "is installed: tfds convert_format"
            ) from error
        label = info.features["label"] if "label" in info.features else None
        names = getattr(label, "names", None)
        self._has_label = label is not None
        self.class_names: tuple[str, ...] | None = tuple(names) if names else None
        self._name = f"{PREFIX}{info.full_name} {split}"
        if not len(self._records):
            raise UserError(f"data.split={split!r} of {source!r} holds no records")
        sizes = tuple((name, one.num_examples) for name, one in sorted(info.splits.items()))
        self.fingerprint = fingerprint_of(("tfds", info.full_name, split, sizes))

    def __len__(self) -> int:
        return len(self._records)

    def read(self, index: int) -> Record:
        name = f"{self._name} record {index}"
        try:
            example = self._records[index]
        except (RuntimeError, ValueError, OSError, IndexError) as error:
            raise BadRecord(f"unreadable record: {_first_line(error)}", name) from error
        image = example["image"]
        if not isinstance(image, bytes):
            raise BadRecord("the feature 'image' holds no encoded picture", name)
        label = int(example["label"]) if self._has_label else None
        return Record(image, None if label is None or label < 0 else label, name)


def _data_dir() -> str | None:
    """TFDS_DATA_DIR as it is now: TFDS reads it only once, when it is imported."""
    return os.environ.get("TFDS_DATA_DIR") or None


def _builder(source: str) -> Any:
    """The builder of a prepared data set, or a `UserError` that says what is missing."""
    import tensorflow_datasets as tfds

    name = source.removeprefix(PREFIX)
    place = f"{_data_dir() or DEFAULT_DIR!r} (set TFDS_DATA_DIR to look elsewhere)"
    prepare = (
        'prepare it once: python -c "import tensorflow_datasets as tfds; '
        f"tfds.builder('{name}', file_format='array_record').download_and_prepare()\""
    )
    try:
        builder = tfds.builder(name, data_dir=_data_dir())
    except tfds.core.DatasetNotFoundError as error:
        raise UserError(
            f"data.source={source!r}: TFDS knows no data set of this name and version, and none "
            f"is prepared in {place}.{_did_you_mean(name)} Some names are known only where "
            "TensorFlow is installed: prepare those there, as ArrayRecord"
        ) from error
    except ImportError as error:
        raise UserError(
            f"data.source={source!r}: TFDS cannot open this data set without TensorFlow "
            f"({_first_line(error)}). Audio data sets need it; image data sets do not. Prepare "
            "it where TensorFlow is installed and give its files as a pattern of ArrayRecord files"
        ) from error
    except (ValueError, KeyError, AttributeError, OSError) as error:
        raise UserError(
            f"data.source={source!r}: TFDS could not open it ({_first_line(error)}). Write "
            f"tfds:NAME, tfds:NAME/CONFIG or tfds:NAME:VERSION; it was looked for in {place}"
        ) from error
    if not builder.info.splits:
        raise UserError(f"data.source={source!r} is not prepared in {place}; {prepare}")
    return builder


def _did_you_mean(name: str) -> str:
    import tensorflow_datasets as tfds

    bare = name.split("/")[0].split(":")[0]
    folder = os.path.expanduser(_data_dir() or DEFAULT_DIR)
    here = os.listdir(folder) if os.path.isdir(folder) else []
    known = {*tfds.list_builders(with_community_datasets=False), *here}
    near = difflib.get_close_matches(bare, sorted(known), n=1)
    return f" Did you mean tfds:{near[0]}?" if near else ""


def _first_line(error: BaseException) -> str:
    text = str(error.args[0]) if error.args else ""
    line = (text.splitlines() or [""])[0].removesuffix("Possible root causes:").strip()
    return line[:160] or type(error).__name__
