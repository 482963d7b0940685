"""`d2v data prepare`: a source to shards that are read fast and in any order."""

import pathlib
from collections.abc import Sequence
from typing import Any

from d2v_jax.common.checks import UserError
from d2v_jax.data.modality import Data
from d2v_jax.data.prepare.outfolder import MEGABYTE
from d2v_jax.data.sources import joined_sources


def prepare(
    data: Data, out: pathlib.Path, workers: int, shard_mb: int, max_side: int | None
) -> str:
    """Writes the records of `data.source` to the folder `out`, which another recipe's may name.

    What was interrupted goes on: whole shards are checked and stay. The shards do not depend on
    `workers`, the processes that write them. Unreadable records are left out and listed in
    prepared.json. Returns what to tell the user. Raises `UserError` where `out` is about something
    else, for more unreadable records than `data.max_bad_share`, and where the modality has no
    prepared form.
    """
    out = out.expanduser()
    if len(joined_sources(data.source)) > 1:
        raise UserError(
            f"{data.source!r} are several sources; prepare each into a folder of its own, and join "
            "those: data.source='A + B'"
        )
    return _said(data.prepare(out, workers, shard_mb, max_side), out)


def _said(index: dict[str, Any], out: pathlib.Path) -> str:
    shards: Sequence[dict[str, Any]] = index["shards"]
    size = sum(shard["bytes"] for shard in shards)
    tokens = f", {index['tokens']:,} tokens," if "tokens" in index else ""
    text = (
        f"{out}: {index['records']:,} records{tokens} in {len(shards)} "
        f"shard{'s' * (len(shards) > 1)} of {size / MEGABYTE:,.1f} MB in all\n"
        f"use it with --config.data.source={out}"
    )
    if index["faults"]:
        text += f"\n{len(index['faults'])} left out, listed in {out / 'prepared.json'}"
    return text
