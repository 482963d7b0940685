"""Buckets: which names are theirs, what is uploaded when, and errors with a remedy."""

import http.server
import os
import pathlib
import subprocess
import sys
import threading

import pytest
from rollcalls import free_port

from d2v_jax.common import buckets, files
from d2v_jax.common.checks import UserError


def test_names(bucket):
    assert buckets.place("~/runs/a") == pathlib.Path.home() / "runs/a"
    there = buckets.place(f"{bucket()}/runs/a")
    assert str(there / "config.json").endswith("/runs/a/config.json")
    assert files.on_disk("gs:/a") and not files.on_disk(there)
    for name in ("s3://bucket/a", "https://example.org/a", "gs://", "gs:///"):
        with pytest.raises(UserError, match="only gs://BUCKET/FOLDER"):
            buckets.place(name)


def test_files_are_whole_or_absent(bucket):
    there = buckets.place(bucket()) / "deep" / "one.json"
    files.write_whole(there, "old")
    with pytest.raises(KeyError), files.written_whole(there) as part:
        part.write_text("half")
        raise KeyError
    assert there.read_text() == "old"
    with files.written_whole(there) as part:
        part.write_text("new")
    assert there.read_text() == "new"


def test_a_copy_uploads_what_has_changed(bucket, monkeypatch):
    run = buckets.place(bucket())
    (run / "metrics.jsonl").write_text("1\n")
    (run / "checkpoints" / "3" / "large").write_text("not fetched")
    with buckets.Copy(run) as copy:
        assert [path.name for path in copy.folder.iterdir()] == ["metrics.jsonl"]
        (run / "metrics.jsonl").write_text("of another")  # stays until ours changes
        (copy.folder / "tensorboard").mkdir()
        (copy.folder / "tensorboard" / "events").write_bytes(b"a")
        (copy.folder / ".one.part").write_text("half")
        copy.keep()
        assert (run / "tensorboard" / "events").read_bytes() == b"a"
        assert (run / "metrics.jsonl").read_text() == "of another"
        assert not (run / ".one.part").exists()
        with open(copy.folder / "metrics.jsonl", "a") as file:
            file.write("2\n")
        monkeypatch.setattr(buckets, "KEEP_S", 0.01)
        copy.keep_on()
        while (run / "metrics.jsonl").read_text() != "1\n2\n":
            pass
        (copy.folder / "goodput.json").write_text("last")
        here = copy.folder
    assert (run / "goodput.json").read_text() == "last" and not here.exists()


def test_on_disk_there_is_no_copy(tmp_path):
    with buckets.Copy(tmp_path) as copy:
        (copy.folder / "metrics.jsonl").write_text("1\n")
        copy.keep_on()
    assert (tmp_path / "metrics.jsonl").read_text() == "1\n"


class Refuses(http.server.BaseHTTPRequestHandler):
    """A bucket that wants to know who asks."""

    def do_GET(self):
        body = b'{"error": {"code": 401, "message": "Anonymous caller has no access"}}'
        self.send_response(401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def said_of(address: str, more: str = "") -> str:
    """What `d2v inspect gs://bucket/run` says."""
    code = f"""
import sys
from d2v_jax.cli import main
from d2v_jax.common import buckets
buckets.ANSWER_S = 1
{more}
sys.exit(main.main(["inspect", "gs://bucket/run"]))
"""
    env = os.environ | {"STORAGE_EMULATOR_HOST": address}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    (line,) = done.stderr.strip().splitlines()
    return line


def test_errors_have_a_remedy():
    said = said_of(f"http://localhost:{free_port()}")
    assert "gs://bucket cannot be reached" in said and "check the network" in said
    said = said_of("http://localhost:1", "sys.modules['gcsfs'] = None")
    assert "pip install 'd2v_jax[gcs]'" in said
    server = http.server.HTTPServer(("localhost", 0), Refuses)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    said = said_of(f"http://localhost:{server.server_port}")
    server.shutdown()
    assert "gs://bucket may not be used (Anonymous caller" in said and "gcloud auth" in said


def test_a_bucket_that_is_not_there(bucket):
    bucket()
    with pytest.raises(UserError, match="there is no bucket gs://nobodys"):
        buckets.reach(buckets.place("gs://nobodys/run"))
