"""Run folders in buckets, gs://BUCKET/FOLDER: their paths, and a local copy of what grows.

An object of a bucket appears whole or not at all, but can be neither appended to nor renamed. So
what a run writes bit by bit (metrics, events, traces) is written into a local copy, from which
whole files are uploaded at intervals, before every checkpoint and at the end.
"""

import functools
import logging
import os
import pathlib
import shutil
import tempfile
import threading
from collections.abc import Iterator
from typing import Any, Self

from d2v_jax.common import names
from d2v_jax.common.checks import UserError
from d2v_jax.common.files import BUCKET, PART, cache_folder, on_disk, write_whole

log = logging.getLogger("d2v")

KEEP_S = 60  # between two uploads of what has grown
ANSWER_S = 15  # in which a bucket must have answered at the start


def place(name: str | os.PathLike) -> pathlib.Path:
    """The path of that name, `~` opened; of gs:// an `etils.epath.Path`, which is used alike.

    Nothing is read or written. Raises `UserError` for other buckets, and where the packages for
    gs:// are missing.
    """
    name = os.fspath(name)
    scheme, there, rest = name.partition("://")
    if not there:
        return names.place(name)
    if scheme != "gs" or not rest.strip("/"):
        raise UserError(
            f"{name}: only gs://BUCKET/FOLDER is written to directly; mount other buckets and give "
            "the folder"
        )
    _storage()
    from etils import epath

    return epath.Path(name)


@functools.cache
def _storage() -> Any:
    """gcsfs's view of all buckets, the same that `etils.epath` and so Orbax have."""
    if emulator := os.environ.get("STORAGE_EMULATOR_HOST"):  # TensorStore has its own name for it
        url = emulator if "://" in emulator else f"http://{emulator}"
        os.environ.setdefault("TENSORSTORE_GCS_HTTP_URL", url)
        os.environ.setdefault("GOOGLE_AUTH_TOKEN_FOR_TESTING", "none")
        os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    logging.getLogger("gcsfs").setLevel(logging.CRITICAL)  # it logs what it raises as well
    try:
        import fsspec
        import gcsfs  # noqa: F401
    except ImportError:
        raise UserError(
            "gs:// needs a few packages more: pip install 'd2v_jax[gcs]', or mount the bucket and "
            "give the folder"
        ) from None
    # Others write to the bucket too, TensorStore in this very process: listings are not kept.
    for name in ("gs", "gcs"):
        fsspec.config.conf.setdefault(name, {}).setdefault("use_listings_cache", False)
    from etils.epath import backend

    return backend.fsspec_backend.fs(BUCKET)


def reach(path: os.PathLike) -> None:
    """Raises `UserError` unless the bucket of `path` answers; a path on disk always does."""
    if not on_disk(path):
        _reach(os.fspath(path).removeprefix(BUCKET).split("/")[0])


@functools.cache
def _reach(bucket: str) -> None:
    from fsspec import asyn

    storage = _storage()
    asked = ("GET", "b/{}/o", bucket)
    try:
        asyn.sync(storage.loop, storage._call, *asked, maxResults=1, timeout=ANSWER_S)
    except FileNotFoundError:
        raise UserError(
            f"there is no bucket {BUCKET}{bucket}; gcloud storage buckets create makes one"
        ) from None
    except Exception as error:
        raise UserError(
            trouble(error, f"{BUCKET}{bucket}") or f"{BUCKET}{bucket}: {error}"
        ) from None


def trouble(error: BaseException, where: str = "the bucket") -> str | None:
    """What a failed request means, with the remedy, on one line; None if it was no request."""
    seen: list[BaseException] = []
    cause: BaseException | None = error
    while cause and cause not in seen:
        seen.append(cause)
        cause = cause.__cause__ or cause.__context__
    for one in seen:
        room = type(one).__module__.split(".")[0]
        words = " ".join(str(one).split())[:200]
        if room == "google" or (room == "gcsfs" and getattr(one, "code", 0) in (401, 403)):
            return _denied(where, words)
        if isinstance(one, OSError) and words.startswith("Forbidden"):
            return _denied(where, words)
        if room in ("aiohttp", "gcsfs") or type(one).__name__ == "FSTimeoutError":
            said = words or f"no answer within {ANSWER_S} s"
            return f"{where} cannot be reached ({said}); check the network, then start again"
        if "Error writing" in words and BUCKET in words:  # TensorStore's only kind is ValueError
            return f"{where} cannot be written to ({words}); check the network, then start again"
    return None


def _denied(where: str, words: str) -> str:
    return (
        f"{where} may not be used ({words}); sign in with gcloud auth application-default login, "
        "or give this machine's service account the role Storage Object User"
    )


class Copy:
    """A local folder for what a run writes bit by bit; of a run on disk, its folder itself.

    In a bucket's run the files beside the checkpoints are fetched at the beginning. `keep` uploads
    what has changed since. A kill leaves only the temporary folder behind.
    """

    def __init__(self, run: pathlib.Path):
        self.run = run
        self.remote = not on_disk(run)
        self._known: dict[pathlib.Path, tuple[int, int]] = {}
        self._one = threading.Lock()
        self._done = threading.Event()
        self._thread: threading.Thread | None = None
        if not self.remote:
            self.folder = run
            return
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="d2v-run-"))
        for local in _fetch(run, self.folder):
            self._known[local] = _state(local)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Uploads the rest; an error that is on its way is not hidden by another."""
        self._done.set()
        if self._thread:
            self._thread.join()
        try:
            self.keep()
        except Exception:
            if kind is None:
                raise
        finally:
            self.close()

    def close(self) -> None:
        """Removes the copy, as it is."""
        if self.remote:
            shutil.rmtree(self.folder, ignore_errors=True)

    def keep(self) -> None:
        """Uploads, whole, each file that has changed since the last time; returns when done."""
        if not self.remote:
            return
        with self._one:
            for path in _files(self.folder):
                state = _state(path)
                if self._known.get(path) != state:
                    there = self.run / path.relative_to(self.folder).as_posix()
                    there.write_bytes(path.read_bytes())
                    self._known[path] = state

    def keep_on(self) -> None:
        """From now on uploads in the background; a failure is said and tried again."""
        if self.remote:
            self._thread = threading.Thread(target=self._often, name="uploads", daemon=True)
            self._thread.start()

    def _often(self) -> None:
        while not self._done.wait(KEEP_S):
            try:
                self.keep()
            except Exception as error:
                log.warning("%s", trouble(error, str(self.run)) or error)


def fetched(path: pathlib.Path) -> pathlib.Path:
    """A file of a bucket, or the files of a folder there, in the cache; a path on disk as it is."""
    if on_disk(path):
        return path
    local = cache_folder() / "buckets" / os.fspath(path).removeprefix(BUCKET)
    if path.is_file():
        write_whole(local, path.read_bytes())
    else:
        _fetch(path, local)
    return local


def _fetch(folder: pathlib.Path, local: pathlib.Path) -> list[pathlib.Path]:
    """The files of a folder of a bucket, without those of its folders, written to `local`."""
    found = []
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.is_file():
            found.append(local / path.name)
            write_whole(found[-1], path.read_bytes())
    return found


def _files(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """Complete ones."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.name.endswith(PART):
            yield path


def _state(path: pathlib.Path) -> tuple[int, int]:
    now = path.stat()
    return now.st_size, now.st_mtime_ns
