"""What `kinema download` makes of each answer to its question for addresses: a clip, or a sentence with a remedy."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from kinema_cli.main import main

CLIP = b"a clip"
TOKEN = "header.payload.signature"


class _Operator(BaseHTTPRequestHandler):
    """Answers as a test says, and keeps what it was shown."""

    status: int
    body: bytes
    seen: list[tuple[str, str | None]]

    def do_GET(self) -> None:
        if self.path == "/clip":
            self._say(200, CLIP)
            return
        self.seen.append((self.path, self.headers["Authorization"]))
        self._say(self.status, self.body)

    def _say(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def operator() -> Iterator[Any]:
    class Handler(_Operator):
        status = 200
        seen: list[tuple[str, str | None]] = []  # noqa: RUF012

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Handler.url = f"http://127.0.0.1:{http.server_port}"  # type: ignore[attr-defined]
    link = {"url": f"{Handler.url}/clip", "sha256": hashlib.sha256(CLIP).hexdigest()}  # type: ignore[attr-defined]
    Handler.body = json.dumps({"video": link}).encode()
    thread = threading.Thread(target=http.serve_forever)
    thread.start()
    yield Handler
    http.shutdown()
    thread.join()
    http.server_close()


Download = Callable[..., Result]


@pytest.fixture
def download(operator: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Download:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "token").write_text(TOKEN + "\n")
    (tmp_path / "kubeconfig").write_text("this: is no kubeconfig")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    monkeypatch.setenv("KINEMA_LINKS_URL", operator.url)

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(main, ["download", "clip", "-n", "films", "--token-file", "token", *arguments])

    return run


def test_a_token_and_an_address_are_enough(download: Download, operator: Any, tmp_path: Path) -> None:
    done = download("--json")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "clip.mp4").read_bytes() == CLIP
    assert operator.seen == [("/v1/namespaces/films/videogenerations/clip/links", f"Bearer {TOKEN}")]
    assert json.loads(done.stdout)["path"] == "clip.mp4"


@pytest.mark.parametrize(
    ("status", "body", "code", "said"),
    [
        (401, b'{"error": "a token for the audience kinema.dev/links is needed"}', 3, "audience kinema.dev/links"),
        (403, b'{"error": "ann may not get it; allow it: kubectl create"}', 3, "allow it: kubectl create"),
        (404, b'{"error": "films/clip has no clip; see its status"}', 1, "has no clip"),
        (503, b'{"error": "the store is away"}', 3, "the store is away; try again"),
        (200, b'{"thumbnail": {"url": "x", "sha256": "y"}}', 1, "has no video"),
        (200, b'{"video": {"url": "x"}}', 1, "has no presigned URLs"),
        (200, b'{"video": "x"}', 1, "has no presigned URLs"),
        (200, b"<html>", 1, "has no video"),
        (200, b"[]", 1, "has no video"),
        (404, b"404: Not Found", 1, "status 404"),
        (302, b"", 1, "status 302"),
        (502, b"\xff\xfe", 3, "status 502"),
    ],
)
def test_every_other_answer_is_a_sentence(
    download: Download, operator: Any, tmp_path: Path, status: int, body: bytes, code: int, said: str
) -> None:
    operator.status, operator.body = status, body
    done = download()
    assert (done.exit_code, said in done.stderr) == (code, True), done.output
    assert TOKEN not in done.output
    assert not (tmp_path / "clip.mp4").exists()


@pytest.mark.parametrize("content", [None, b"", b"two\nlines", b"\xff", b"a\x00b"])
def test_a_file_that_holds_no_token_is_never_sent(
    download: Download, operator: Any, tmp_path: Path, content: bytes | None
) -> None:
    (tmp_path / "token").unlink()
    if content is not None:
        (tmp_path / "token").write_bytes(content)
    done = download()
    assert (done.exit_code, "token" in done.stderr) == (2, True), done.output
    assert operator.seen == []


@pytest.mark.parametrize("name", ["../secrets", "a/b", "..", ""])
def test_a_name_stays_in_its_place_in_the_address(download: Download, operator: Any, name: str) -> None:
    done = CliRunner().invoke(main, ["download", name, "-n", "films", "--token-file", "token"])
    assert done.exit_code == 2, done.output
    assert operator.seen == []


def test_an_address_where_nobody_answers(download: Download, unused_tcp_port: int) -> None:
    done = download("--links-url", f"http://127.0.0.1:{unused_tcp_port}")
    assert (done.exit_code, "correct --links-url" in done.stderr) == (3, True), done.output
    assert download("--links-url", "kinema-operator:8081").exit_code == 2
