"""A bucket on loopback: what gcsfs and TensorStore ask of Cloud Storage, with conditions.

The emulators of the package index know no generations, without which TensorStore cannot write.
"""

import base64
import contextlib
import http.server
import json
import os
import re
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
import zlib
from collections.abc import Iterator

from rollcalls import free_port

HERE = ("STORAGE_EMULATOR_HOST", "TENSORSTORE_GCS_HTTP_URL")
PATIENCE_S = 60
OBJECTS: dict[str, tuple[bytes, int]] = {}  # name -> (content, generation)
UPLOADS: dict[str, tuple[str, bytes]] = {}  # id -> (name, what has come so far)
ONE = threading.RLock()


@contextlib.contextmanager
def served() -> Iterator[str]:
    """gs://bucket answers at the address it gives, for this process and those it starts."""
    port = free_port()
    address = f"http://localhost:{port}"
    before = {name: os.environ.get(name) for name in HERE}
    with subprocess.Popen([sys.executable, __file__, str(port)]) as process:
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
            urllib.request.urlopen(f"{address}/storage/v1/b/bucket").close()
            return
        except OSError:
            assert time.monotonic() < until, "the bucket does not start"
            time.sleep(0.05)


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True

    def handle_error(self, *where) -> None:
        """Who was killed hangs up in the middle."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(*where)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, code: int, body: bytes | dict = b"", **headers: str) -> None:
        data = json.dumps(body).encode() if isinstance(body, dict) else body
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def handle_one(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        asked = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        found = re.fullmatch(r"(/upload|/download)?/storage/v1/b/([^/]+)(/o(?:/(.*))?)?", url.path)
        if not found or found[2] != "bucket":
            return self.answer(404, {"error": {"code": 404, "message": "Not Found"}})
        name = urllib.parse.unquote(found[4] or "")
        with ONE:
            if found[1] == "/upload":
                return self.upload(asked, body)
            if not found[3]:
                return self.answer(200, {"name": "bucket"})
            if not found[4]:
                return self.answer(200, listed(asked))
            if self.command == "POST":
                return self.copy(*found[4].split("/rewriteTo/b/bucket/o/"))
            return self.one(name, asked)

    do_GET = do_POST = do_PUT = do_DELETE = handle_one

    def one(self, name: str, asked: dict[str, str]) -> None:
        if refused := condition(name, asked):
            return self.answer(refused)
        if name not in OBJECTS:
            return self.answer(404, {"error": {"code": 404, "message": "Not Found"}})
        if self.command == "DELETE":
            del OBJECTS[name]
            return self.answer(204)
        if asked.get("alt") != "media":
            return self.answer(200, meta(name))
        data, generation = OBJECTS[name]
        headers = {"X_Goog_Generation": str(generation)}
        if span := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or ""):
            first, last = int(span[1]), min(int(span[2] or len(data)), len(data) - 1)
            if first >= len(data):
                return self.answer(416, **headers)
            headers["Content_Range"] = f"bytes {first}-{last}/{len(data)}"
            return self.answer(206, data[first : last + 1], **headers)
        return self.answer(200, data, **headers)

    def upload(self, asked: dict[str, str], body: bytes) -> None:
        if "upload_id" in asked:
            return self.go_on(asked["upload_id"], body)
        match asked["uploadType"]:
            case "media":
                return self.put(asked["name"], body, asked)
            case "multipart":
                boundary = self.headers["Content-Type"].split("boundary=")[1].strip("\"'")
                parts = re.split(rb"\r?\n?--" + re.escape(boundary.encode()), body)[1:3]
                about, data = (re.split(rb"\r?\n\r?\n", p, maxsplit=1)[1] for p in parts)
                return self.put(json.loads(about)["name"], data, asked)
        name = asked.get("name") or json.loads(body)["name"]
        UPLOADS[str(len(UPLOADS))] = name, b""
        place = f"http://{self.headers['Host']}/upload/storage/v1/b/bucket/o"
        return self.answer(200, Location=f"{place}?upload_id={len(UPLOADS) - 1}")

    def go_on(self, upload: str, body: bytes) -> None:
        name, so_far = UPLOADS[upload]
        so_far += body
        UPLOADS[upload] = name, so_far
        if self.headers["Content-Range"].endswith(f"/{len(so_far)}"):
            return self.put(name, so_far, {})
        return self.answer(308, Range=f"bytes=0-{len(so_far) - 1}")

    def put(self, name: str, data: bytes, asked: dict[str, str]) -> None:
        if refused := condition(name, asked):
            return self.answer(refused)
        OBJECTS[name] = data, time.time_ns()
        return self.answer(200, meta(name))

    def copy(self, source: str, target: str) -> None:
        name = urllib.parse.unquote(target)
        OBJECTS[name] = OBJECTS[urllib.parse.unquote(source)][0], time.time_ns()
        return self.answer(200, {"done": True, "resource": meta(name)})


def condition(name: str, asked: dict[str, str]) -> int:
    """The code with which a request is refused, or 0."""
    now = OBJECTS[name][1] if name in OBJECTS else 0
    if (wanted := asked.get("ifGenerationMatch")) and int(wanted) != now:
        return 412
    if (known := asked.get("ifGenerationNotMatch")) and int(known) == now:
        return 304
    return 0


def meta(name: str) -> dict[str, str]:
    data, generation = OBJECTS[name]
    when = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(generation / 1e9))
    return {
        "kind": "storage#object",
        "bucket": "bucket",
        "name": name,
        "generation": str(generation),
        "metageneration": "1",
        "size": str(len(data)),
        "timeCreated": when,
        "updated": when,
        "etag": base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode(),
    }


def listed(asked: dict[str, str]) -> dict[str, list]:
    prefix, cut = asked.get("prefix", ""), asked.get("delimiter")
    names = [name for name in sorted(OBJECTS) if name.startswith(prefix)]
    names = [name for name in names if name >= asked.get("startOffset", "")]
    if end := asked.get("endOffset"):
        names = [name for name in names if name < end]
    folders = set()
    if cut:
        rest = {name: name[len(prefix) :] for name in names}
        folders = {prefix + one.split(cut)[0] + cut for one in rest.values() if cut in one}
        names = [name for name, one in rest.items() if cut not in one]
    return {"items": [meta(name) for name in names], "prefixes": sorted(folders)}


if __name__ == "__main__":
    Server(("localhost", int(sys.argv[1])), Handler).serve_forever()
