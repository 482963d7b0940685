"""Names on the Hugging Face hub and folders of its cache. Nothing is downloaded here."""

import logging
import os
import pathlib
import re

from d2v_jax.common import buckets
from d2v_jax.common.checks import UserError
from d2v_jax.common.files import on_disk
from d2v_jax.interop.huggingface import hf_files

NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
ADDRESS = re.compile(r"^(https?:/+(www\.)?(huggingface\.co|hf\.co)|hf:)/+")

log = logging.getLogger("d2v")


def located(path: str | os.PathLike) -> pathlib.Path:
    """Where a checkpoint lies: `path`, or what the hub's cache has under that name.

    A name is "org/model", also as an address; of a cache folder (models--org--model, or its
    snapshots) the snapshot in use is taken. Raises UserError for a folder that holds none.
    """
    if not ADDRESS.match(os.fspath(path)):
        path = buckets.place(path)
        buckets.reach(path)
        if not on_disk(path):
            return path
    path = pathlib.Path(path)
    if path.is_dir():
        folder = path.parent if path.name == "snapshots" else path
        return _snapshot(folder) if (folder / "snapshots").is_dir() else path
    name = name_of(path)
    if path.exists() or name is None:
        return path
    folder = cache() / f"models--{name.replace('/', '--')}"
    if not folder.is_dir():
        return path
    found = _snapshot(folder)
    log.info("%s is read from the cache: %s", name, found)
    return found


def name_of(path: str | os.PathLike) -> str | None:
    """The model's name that this may be; None where it cannot be one."""
    name = ADDRESS.sub("", os.fspath(path)).strip("/")
    name = re.sub(r"/(tree|resolve|blob)/.*", "", name)
    return name if NAME.fullmatch(name) else None


def hint(path: str | os.PathLike) -> str:
    """What else to do about a path that does not exist; empty where it is no name."""
    name = name_of(path)
    if name is None:
        return ""
    return (
        f". If {name} is a model on the Hugging Face hub: nothing is downloaded here; run "
        f"`hf download {name}`, then give the same name again"
    )


def cache() -> pathlib.Path:
    """Where the hub's own programs keep what they downloaded."""
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if os.environ.get(variable):
            return pathlib.Path(os.environ[variable]).expanduser()
    if os.environ.get("HF_HOME"):
        return pathlib.Path(os.environ["HF_HOME"]).expanduser() / "hub"
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return pathlib.Path(home).expanduser() / "huggingface" / "hub"


def _snapshot(folder: pathlib.Path) -> pathlib.Path:
    """The snapshot that `refs/main` names, else the newest that has a configuration or weights."""
    try:
        named = folder / "snapshots" / (folder / "refs" / "main").read_text("utf-8").strip()
    except (OSError, ValueError):
        named = folder / "snapshots"
    if named.parent == folder / "snapshots" and _holds_something(named):
        return named
    others = [place for place in (folder / "snapshots").iterdir() if _holds_something(place)]
    if not others:
        name = folder.name.removeprefix("models--").replace("--", "/")
        raise UserError(
            f"{folder} holds no whole snapshot of the model; run `hf download {name}` again"
        )
    return max(others, key=lambda place: place.stat().st_mtime)


def _holds_something(place: pathlib.Path) -> bool:
    """A download that broke off leaves empty folders and links that lead nowhere."""
    return (place / hf_files.CONFIG).is_file() or hf_files.has_weights(place)
