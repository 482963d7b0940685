"""A folder that `d2v data prepare` fills: what it is about, and which of its shards are whole."""

import hashlib
import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from d2v_jax.common.checks import UserError, require_utf8
from d2v_jax.common.files import PART, write_whole
from d2v_jax.data.stores.prepared import INDEX

MEGABYTE = 2**20
PLAN = "prepared.plan.json"  # what an interrupted folder is about
SHARD = "prepared-{:05d}.array_record"
DONE = "prepared-{:05d}.json"  # exists once the shard beside it is whole
# One record in a group is read without its neighbours; ids, JPEG and FLAC do not compress.
WRITER_OPTIONS = "group_size:1,uncompressed"


def check_plan(
    out: pathlib.Path,
    plan: Mapping[str, Any],
    decide: Callable[[], Mapping[str, Any]] = dict,
) -> dict[str, Any]:
    """Begins the folder `out`, or goes on with it; returns `plan` and what `decide` added to it.

    `decide` is called for a new folder only; later its answer is taken from there. Raises
    `UserError` unless `out` is new, empty, or was begun with the same plan.
    """
    require_utf8(out, "prepared data")
    try:
        found = json.loads((out / PLAN).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        if (out / INDEX).is_file():
            raise UserError(f"{out} is complete already and not empty; give a new folder") from None
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise UserError(f"{out} is there already and not empty; give a new folder") from None
        found = {**plan, **decide()}
        out.mkdir(parents=True, exist_ok=True)
        write_whole(out / PLAN, json.dumps(found, indent=1).encode())
        return found
    except ValueError as error:
        raise UserError(f"{out / PLAN} is damaged; remove {out} and begin again") from error
    for key, value in plan.items():
        if found.get(key) != value:
            raise UserError(
                f"{out} was begun with {key}={found.get(key)!r}, and now it is {value!r}; give a "
                f"new folder, or remove {out} and begin again"
            )
    return found


def sha256_of(path: pathlib.Path) -> str:
    """Of a file's contents."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def finish(out: pathlib.Path, index: Mapping[str, Any]) -> None:
    """Writes prepared.json; then what was kept of single shards is needed no longer."""
    write_whole(out / INDEX, json.dumps(index, indent=1).encode())
    # The last are of `write_whole`, when it was killed.
    for pattern in ("prepared-*.json", "prepared-*.npy", f".prepared*{PART}"):
        for path in out.glob(pattern):
            path.unlink()
    (out / PLAN).unlink()
