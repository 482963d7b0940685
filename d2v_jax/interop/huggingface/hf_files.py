"""The files of a Hugging Face model folder: JSON, weights in one piece or in shards."""

import json
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import safetensors
from safetensors.numpy import save_file

from d2v_jax.common.checks import UserError
from d2v_jax.common.files import written_whole
from d2v_jax.interop.allowed import printable
from d2v_jax.interop.pickles import torch_pickle

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
TORCH_WEIGHTS = "pytorch_model.bin"
SPECIAL = ("[CLS]", "[SEP]", "[MASK]", "<mask>")
INDEX = ".index.json"  # behind the names above: of weights in shards
# What damaged or foreign bytes raise in the safetensors library and in numpy.
_BROKEN = (safetensors.SafetensorError, OSError, LookupError, ValueError, TypeError)


def open_folder(folder: str | os.PathLike) -> pathlib.Path:
    """The folder, or UserError."""
    path = pathlib.Path(folder).expanduser()
    if not path.exists():
        raise UserError(f"there is no folder {path}; download the model first")
    if not path.is_dir():
        raise UserError(f"{path} is a file; give the folder that holds {CONFIG} and the weights")
    return path


def read_json(path: pathlib.Path) -> dict[str, Any]:
    """A JSON object. Raises UserError for anything else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON ({error}); fetch it again") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} holds a {type(content).__name__}, not a group of fields")
    return content


def optional_json(path: pathlib.Path) -> dict[str, Any] | None:
    """`read_json`, None where there is no such file."""
    return read_json(path) if path.exists() else None


def special_ids(folder: pathlib.Path) -> dict[str, int]:
    """Ids of SPECIAL by name, as far as the tokenizer's files beside a model tell."""
    named: dict[str, Any] = {}
    if whole := optional_json(folder / "tokenizer.json"):
        model, added = whole.get("model"), whole.get("added_tokens")
        named = dict(model.get("vocab") or {}) if isinstance(model, dict) else {}
        for one in added if isinstance(added, list) else ():
            named[one.get("content")] = one.get("id")
    elif (folder / "vocab.txt").is_file():
        lines = (folder / "vocab.txt").read_text("utf-8", errors="replace").split("\n")
        named = {line.strip("\r"): number for number, line in enumerate(lines)}
    elif names := optional_json(folder / "vocab.json"):
        named = names
    special = {name: named.get(name) for name in SPECIAL}
    return {name: number for name, number in special.items() if type(number) is int}


def has_weights(folder: pathlib.Path) -> bool:
    """Whether a folder holds what `read_weights` looks for."""
    names = (WEIGHTS, TORCH_WEIGHTS)
    return any((folder / f"{name}{end}").is_file() for name in names for end in ("", INDEX))


def read_weights(folder: pathlib.Path) -> dict[str, np.ndarray]:
    """Every tensor of a folder by its key, in the file's dtype (bfloat16 through ml_dtypes).

    Looks for model.safetensors, its shards, pytorch_model.bin and its shards, in this order.
    """
    for name, read in ((WEIGHTS, read_safetensors), (TORCH_WEIGHTS, torch_pickle.read)):
        if (folder / name).exists():
            return dict(read(folder / name))
        if (folder / f"{name}{INDEX}").exists():
            return _read_shards(folder, f"{name}{INDEX}", read)
    raise UserError(
        f"{folder} has no weights: neither {WEIGHTS} nor {TORCH_WEIGHTS}, nor shards of them; "
        "download all files of the model"
    )


def _read_shards(
    folder: pathlib.Path, index: str, read: Callable[[pathlib.Path], Mapping[str, Any]]
) -> dict[str, Any]:
    places = read_json(folder / index).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise UserError(f"{folder / index} has no weight_map; fetch it again")
    flat: dict[str, Any] = {}
    for shard in sorted({str(place) for place in places.values()}):
        if pathlib.PurePath(shard).name != shard:
            raise UserError(
                f"{folder / index} places weights outside the folder, in {printable(shard)}"
            )
        if not (folder / shard).exists():
            raise UserError(f"{folder} lacks the shard {printable(shard)}; fetch it too")
        content = read(folder / shard)
        for key, place in places.items():
            if place == shard:
                if key not in content:
                    raise UserError(
                        f"{folder / shard} lacks {printable(key)}, which {index} places there; "
                        "index and shards are not of one model"
                    )
                flat[key] = content[key]
    return flat


def read_safetensors(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Copies of every tensor of a file. Raises UserError for a damaged or foreign one."""
    try:
        with safetensors.safe_open(path, framework="np") as file:
            return {key: file.get_tensor(key) for key in file.keys()}
    except _BROKEN as error:
        raise UserError(
            f"{path} is damaged or not a safetensors file ({_why(path, error)}); fetch it again "
            "and compare its size and checksum with the publisher's"
        ) from None


def _why(path: pathlib.Path, error: Exception) -> str:
    if path.is_file():
        with path.open("rb") as file:
            start = file.read(64)
        if start.startswith(b"version https://git-lfs"):
            return "it is a Git LFS pointer: run `git lfs pull`"
        if start.lstrip()[:1] == b"<":
            return "it is a web page: the download went wrong"
        if not start:
            return "it is empty"
    return str(error)[:300]


def require_finite(flat: Mapping[str, np.ndarray]) -> None:
    """Raises UserError naming the arrays that hold NaN or infinite numbers."""
    broken = [printable(key) for key, array in flat.items() if not np.isfinite(array).all()]
    if broken:
        raise UserError(f"the model holds NaN or infinite numbers, in {', '.join(broken[:10])}")


def write_json(path: pathlib.Path, content: Mapping[str, Any]) -> None:
    """Writes a JSON file whole or not at all."""
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    # Names that are not UTF-8 become the escapes that JSON has for them.
    data = text.encode(errors="backslashreplace")
    _replace(path, lambda temporary: temporary.write_bytes(data))


def write_safetensors(
    path: pathlib.Path, flat: Mapping[str, np.ndarray], metadata: dict[str, str]
) -> None:
    """Writes a safetensors file whole or not at all."""
    arrays = {key: np.ascontiguousarray(value) for key, value in flat.items()}
    _replace(path, lambda temporary: save_file(arrays, temporary, metadata=metadata))


def _replace(path: pathlib.Path, write: Callable[[pathlib.Path], object]) -> None:
    """Lets `write` fill a file beside `path`, then puts it in its place."""
    try:
        with written_whole(path) as part:
            write(part)
    except (OSError, safetensors.SafetensorError) as error:
        raise UserError(f"{path} cannot be written: {error}") from None
