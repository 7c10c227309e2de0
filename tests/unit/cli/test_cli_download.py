"""A download is kept only if it is what the status names; a real HTTP server on loopback answers."""

from __future__ import annotations

import contextlib
import hashlib
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from kinema_cli import download
from kinema_cli.download import fetch
from kinema_cli.errors import CommandError

CLIP = b"a clip" * 1000
SHA256 = hashlib.sha256(CLIP).hexdigest()


class _Store(BaseHTTPRequestHandler):
    failures = 0
    left = threading.Event()
    """Set: whoever asked for a clip without end has gone before all of it was sent."""

    def do_GET(self) -> None:
        kind = type(self)
        status = 200
        if kind.failures:
            kind.failures -= 1
            status = 503
        elif "denied" in self.path:
            status = 403
        self.send_response(status)
        if "endless" in self.path:
            self._without_end(b"x" if "slowly" in self.path else bytes(1 << 20))
            return
        self.send_header("Content-Length", str(len(CLIP)))
        self.end_headers()
        self.wfile.write(CLIP)

    def _without_end(self, piece: bytes) -> None:
        """Far more than any test waits for, and an end all the same."""
        self.end_headers()
        with contextlib.suppress(OSError):
            for _ in range(200):
                self.wfile.write(piece)
                self.wfile.flush()
                time.sleep(0.05)
            return
        type(self).left.set()

    def log_message(self, *_: object) -> None:
        """Nothing: the test's output stays readable."""


@pytest.fixture
def base() -> Iterator[str]:
    _Store.failures = 0
    _Store.left.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Store)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_what_is_right_is_kept(base: str, tmp_path: Path) -> None:
    path = tmp_path / "new" / "clip.mp4"
    fetch(f"{base}/clip?X-Amz-Signature=topsecret", path, SHA256)
    assert path.read_bytes() == CLIP
    assert list(path.parent.iterdir()) == [path]


def test_a_store_that_stumbles_is_asked_again(base: str, tmp_path: Path) -> None:
    _Store.failures = 2
    fetch(f"{base}/clip", tmp_path / "clip.mp4", SHA256)
    assert (tmp_path / "clip.mp4").read_bytes() == CLIP


@pytest.mark.parametrize(
    ("path", "sha256", "word"),
    [("clip", "0" * 64, "do not match the digest in the status"), ("denied", SHA256, "may have expired")],
)
def test_what_is_wrong_leaves_nothing_and_names_no_signature(
    base: str, tmp_path: Path, path: str, sha256: str, word: str
) -> None:
    with pytest.raises(CommandError, match=word) as error:
        fetch(f"{base}/{path}?X-Amz-Signature=topsecret", tmp_path / "clip.mp4", sha256)
    assert "topsecret" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_cannot_be_reached_is_named(tmp_path: Path, unused_tcp_port: int) -> None:
    with pytest.raises(CommandError, match=f"127.0.0.1:{unused_tcp_port} does not respond"):
        fetch(f"http://127.0.0.1:{unused_tcp_port}/clip", tmp_path / "clip.mp4", SHA256)


def test_a_folder_that_cannot_be_written_is_named(base: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CommandError, match="choose another --out"):
        fetch(f"{base}/clip", tmp_path / "file" / "clip.mp4", SHA256)


@pytest.mark.parametrize("path", ["endless", "endless-slowly"])
def test_a_store_that_never_ends_is_left(base: str, tmp_path: Path, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "ANSWER_SECONDS", 0.5, raising=False)
    monkeypatch.setattr(download, "SLOWEST_BYTES_PER_SECOND", 1 << 40, raising=False)
    with pytest.raises(CommandError) as error:
        fetch(f"{base}/{path}?X-Amz-Signature=topsecret", tmp_path / "clip.mp4", SHA256)
    assert _Store.left.wait(30), "it sent all that it wanted to send"
    assert "topsecret" not in str(error.value)
    assert list(tmp_path.iterdir()) == []
