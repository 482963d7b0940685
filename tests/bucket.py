"""A bucket on loopback: the emulator of the package index, in a process of its own."""

import contextlib
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator

from rollcalls import free_port

SERVE = """
import logging, sys, threading
from http import server
from gcp_storage_emulator.server import create_server
server.HTTPServer.request_queue_size = 128  # several processes speak to it at once
logging.disable(logging.CRITICAL)
create_server("localhost", int(sys.argv[1]), in_memory=True, default_bucket="bucket").start()
threading.Event().wait()
"""
HERE = ("STORAGE_EMULATOR_HOST", "TENSORSTORE_GCS_HTTP_URL")
PATIENCE_S = 60


@contextlib.contextmanager
def served() -> Iterator[str]:
    """gs://bucket answers at the address it gives, for this process and those it starts."""
    address = f"http://localhost:{free_port()}"
    before = {name: os.environ.get(name) for name in HERE}
    with subprocess.Popen([sys.executable, "-c", SERVE, address.split(":")[-1]]) as process:
        try:
            _await(address)
            os.environ |= dict.fromkeys(HERE, address)
            yield address
        finally:
            process.kill()
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})


def _await(address: str) -> None:
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            urllib.request.urlopen(address).close()
            return
        except OSError:
            assert time.monotonic() < until, "the emulator does not start"
            time.sleep(0.05)
