"""One call at a time works in a run folder: process 0 holds it for all processes of its run."""

import contextlib
import pathlib
from typing import Self

import jax

from d2v_jax.common import lock
from d2v_jax.common.checks import UserError
from d2v_jax.common.files import on_disk
from d2v_jax.train.hosts.agreement import Peers

IN_USE = "wait for it or end it, or use another --workdir"


class Holder:
    """Holds `workdir` from `take` until it is left.

    A run in a bucket is not held. An object there does not go with the process that wrote it, so
    one that was killed would keep out the call that is to continue it, and no bucket can tell the
    two apart: who starts runs in buckets sees to it that each is started once.
    """

    def __init__(self, workdir: pathlib.Path, peers: Peers | None):
        self._workdir, self._peers = workdir, peers
        self._stack = contextlib.ExitStack()
        self._settled = not on_disk(workdir)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def take(self, make: bool = False) -> None:
        """Unless it is held already; a folder that is not there only where it is to be made.

        All processes call it. Raises, in all, where the folder cannot be had.
        """
        refused = None
        if jax.process_index() == 0 and not self._settled:
            try:
                self._take(make)
            except (UserError, OSError) as error:
                refused = error
        try:
            if self._peers:
                self._peers.agree("state of the run folder", str(refused) if refused else "free")
        finally:
            if refused:
                raise refused

    def _take(self, make: bool) -> None:
        if make:
            self._workdir.mkdir(parents=True, exist_ok=True)
        if self._workdir.is_dir():
            self._stack.enter_context(lock.held(self._workdir, IN_USE))
            self._settled = True
