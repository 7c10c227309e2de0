"""A container registry on loopback: as much of the OCI distribution protocol as pushing and pulling take."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

MANIFESTS: Final = re.compile(r"/v2/(?P<name>.+)/manifests/(?P<reference>[^/]+)")
BLOBS: Final = re.compile(r"/v2/(?P<name>.+)/blobs/(?P<digest>sha256:[0-9a-f]{64})")
UPLOADS: Final = re.compile(r"/v2/(?P<name>.+)/blobs/uploads/(?P<upload>[^/?]*)(\?.*)?")


class Registry:
    """What has been pushed."""

    def __init__(self, port: int) -> None:
        self.address = f"127.0.0.1:{port}"
        self.blobs: dict[str, bytes] = {}
        self.uploads: dict[str, bytes] = {}
        self.manifests: dict[tuple[str, str], tuple[str, bytes]] = {}

    def manifest(self, name: str, reference: str) -> dict[str, Any]:
        """A manifest by tag or digest."""
        return dict(json.loads(self.manifests[name, reference][1]))

    def tags(self, name: str) -> set[str]:
        return {reference for named, reference in self.manifests if named == name and ":" not in reference}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    registry: Registry

    def do_GET(self) -> None:
        if found := MANIFESTS.fullmatch(self.path):
            kind, content = self.registry.manifests.get((found["name"], found["reference"]), ("", b""))
            self._answer(
                200 if kind else 404, content, {"Content-Type": kind, "Docker-Content-Digest": digest(content)}
            )
        elif found := BLOBS.fullmatch(self.path):
            blob = self.registry.blobs.get(found["digest"])
            self._answer(404 if blob is None else 200, blob or b"", {"Docker-Content-Digest": found["digest"]})
        else:
            self._answer(200 if self.path == "/v2/" else 404)

    do_HEAD = do_GET

    def do_POST(self) -> None:
        found = UPLOADS.fullmatch(self.path)
        assert found, self.path
        upload = uuid.uuid4().hex
        self.registry.uploads[upload] = self._body()
        self._answer(202, headers={"Location": f"/v2/{found['name']}/blobs/uploads/{upload}"})

    def do_PATCH(self) -> None:
        found = UPLOADS.fullmatch(self.path)
        assert found, self.path
        self.registry.uploads[found["upload"]] += self._body()
        self._answer(202, headers={"Location": self.path})

    def do_PUT(self) -> None:
        body = self._body()
        if found := MANIFESTS.fullmatch(self.path):
            stored = (self.headers["Content-Type"], body)
            self.registry.manifests[found["name"], found["reference"]] = stored
            self.registry.manifests[found["name"], digest(body)] = stored
            self._answer(201, headers={"Docker-Content-Digest": digest(body)})
            return
        found = UPLOADS.fullmatch(self.path)
        assert found, self.path
        blob = self.registry.uploads.pop(found["upload"]) + body
        self.registry.blobs[digest(blob)] = blob
        self._answer(201, headers={"Docker-Content-Digest": digest(blob), "Location": self.path})

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        content = b""
        while size := int(self.rfile.readline(), 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return content

    def _answer(self, code: int, content: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(code)
        for name, value in {**(headers or {}), "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Nothing is logged."""


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@contextmanager
def registry() -> Iterator[Registry]:
    """A registry that is there as long as the context is."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    held = Registry(server.server_address[1])
    _Handler.registry = held
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield held
    finally:
        server.shutdown()
        server.server_close()
