"""Where a data set prepared by TFDS lies, and its splits, without opening it with TFDS."""

import os
import pathlib
import re
from typing import Any

from d2v_jax.common.checks import UserError
from d2v_jax.data.stores.tfds_source import DEFAULT_DIR, PREFIX

VERSION = re.compile(r"\d+\.\d+\.\d+")


def data_dir() -> str:
    """TFDS_DATA_DIR as it is now, else where TFDS looks by itself."""
    return os.environ.get("TFDS_DATA_DIR") or DEFAULT_DIR


def find(source: str) -> pathlib.Path:
    """The folder of "tfds:NAME[/CONFIG][:VERSION]", the newest version where none is given.

    Raises `UserError` where it is not prepared, saying how.
    """
    path, _, version = source.removeprefix(PREFIX).partition(":")
    *parts, last = path.strip("/").split("/")
    if VERSION.fullmatch(last) and parts:
        version = last
    else:
        parts.append(last)
    top = pathlib.Path(data_dir()).expanduser()
    below = top.joinpath(*parts)
    folders = [file.parent for file in below.glob("*/features.json")]
    if not folders and len(parts) == 1:
        configs = sorted({file.parts[-3] for file in below.glob("*/*/features.json")})
        if len(configs) > 1:
            raise UserError(
                f"data.source={source!r} is prepared in the configurations {', '.join(configs)}; "
                f"give one, as {PREFIX}{parts[0]}/{configs[0]}"
            )
        folders = [file.parent for file in below.glob("*/*/features.json")]
    found = {folder.name: folder for folder in folders if VERSION.fullmatch(folder.name)}
    if version and version in found:
        return found[version]
    if found and not version:
        return found[max(found, key=lambda name: tuple(map(int, name.split("."))))]
    if found:
        raise UserError(
            f"data.source={source!r}: version {version!r} is not prepared in {str(top)!r}; there "
            f"are {', '.join(sorted(found))}"
        )
    name = "/".join(parts)
    here = sorted({file.relative_to(top).parts[0] for file in top.glob("*/**/features.json")})
    raise UserError(
        f"data.source={source!r} is not prepared in {str(top)!r} (there: "
        f"{', '.join(here[:8]) or 'nothing'}; set TFDS_DATA_DIR to look elsewhere). Prepare it "
        'once, where TensorFlow is installed: python -c "import tensorflow_datasets as tfds; '
        f"tfds.builder('{name}', file_format='array_record').download_and_prepare()\""
    )


def split_instructions(
    source: str, folder: pathlib.Path, split: str
) -> tuple[list[Any], list[tuple[str, int, int]]]:
    """What `ArrayRecordDataSource` reads of a split, and (file, skip, take) of each part.

    Raises `UserError` for unknown splits, other file formats and missing files.
    """
    from tensorflow_datasets.core import dataset_info  # takes a second

    info = dataset_info.read_proto_from_builder_dir(folder)
    if info.file_format != "array_record":
        raise UserError(
            f"data.source={source!r} is stored as {info.file_format or 'tfrecord'}, which cannot "
            "be read record by record. Prepare it again with file_format='array_record', or "
            f"convert it where TensorFlow is installed: tfds convert_format --root_data_dir="
            f"{folder} --out_file_format=array_record"
        )
    splits = dataset_info.get_split_dict_from_proto(info, folder)
    try:
        instructions = splits[split].file_instructions
    except (ValueError, KeyError) as error:
        raise UserError(
            f"data.split={split!r}: {source!r} has the splits {', '.join(splits)}; a part of one "
            "is written train[:90%]"
        ) from error
    parts = [(os.path.basename(one.filename), one.skip, one.take) for one in instructions]
    for one in instructions:
        if not os.path.isfile(one.filename):
            raise UserError(
                f"data.source={source!r}: the file {one.filename} is missing; copy the data set "
                "again"
            )
    if not sum(take for _, _, take in parts):
        raise UserError(f"data.split={split!r} of {source!r} holds no records")
    return instructions, parts
