"""Which store a download trusts, and how much it takes: a real HTTPS server with an authority of its own answers."""

from __future__ import annotations

import hashlib
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from cluster.pki import Pki
from kinema_cli.download import fetch_file
from kinema_cli.errors import CommandError
from kinema_cli.links import LinkOptions

CLIP = b"a clip" * 1000
SHA256 = hashlib.sha256(CLIP).hexdigest()


class _Store(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(CLIP * (2 if "twice" in self.path else 1))

    def log_message(self, *_: object) -> None:
        """Nothing: the test's output stays readable."""


def test_no_more_is_fetched_than_the_status_promises(private: tuple[str, Path], tmp_path: Path) -> None:
    base, authority = private
    twice = clip(f"{base}/twice", authority.read_text())
    with pytest.raises(CommandError, match=f"sent more than the {len(CLIP)} bytes"):
        fetch_file(cluster_of_none(), twice, "video", tmp_path / "c", LinkOptions())
    assert list(tmp_path.iterdir()) == []


def cluster_of_none() -> Any:
    """A status with an address needs no cluster."""
    return None


def clip(url: str, ca_bundle: str | None = None) -> dict[str, Any]:
    video = {"url": url, "sha256": SHA256, "bytes": len(CLIP)}
    status: dict[str, Any] = {"phase": "Succeeded", "video": video}
    if ca_bundle:
        status["stores"] = {"clips": {"caBundle": ca_bundle}}
    return {"metadata": {"name": "clip"}, "spec": {}, "status": status}


@pytest.fixture
def private(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A store's address, by TLS, and the certificate of its authority, which no system knows."""
    pki = Pki(tmp_path_factory.mktemp("pki"))
    pki.ensure_authority()
    pki.ensure_server("store", ["IP:127.0.0.1"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki.certificate("store"), pki.key("store"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Store)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"https://127.0.0.1:{server.server_port}", pki.certificate("ca")
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_clip_of_a_store_with_a_private_authority_is_fetched(private: tuple[str, Path], tmp_path: Path) -> None:
    base, authority = private
    named = clip(f"{base}/clip", authority.read_text())
    fetch_file(cluster_of_none(), named, "video", tmp_path / "named.mp4", LinkOptions())
    given = LinkOptions(ca_file=authority)
    fetch_file(cluster_of_none(), clip(f"{base}/clip"), "video", tmp_path / "given.mp4", given)
    assert (tmp_path / "named.mp4").read_bytes() == (tmp_path / "given.mp4").read_bytes() == CLIP


def test_a_store_that_is_not_trusted_is_named_with_what_to_do(private: tuple[str, Path], tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"is not trusted \(TLS\); pass its CA certificate with --ca-file"):
        fetch_file(cluster_of_none(), clip(f"{private[0]}/clip"), "video", tmp_path / "clip.mp4", LinkOptions())
    wrong = tmp_path / "wrong.crt"
    wrong.write_text("no certificate")
    with pytest.raises(CommandError, match="not PEM text of certificates"):
        fetch_file(cluster_of_none(), clip(private[0]), "video", tmp_path / "clip.mp4", LinkOptions(ca_file=wrong))


def test_the_authorities_of_a_whole_system_are_taken(tmp_path: Path, private: tuple[str, Path]) -> None:
    base, authority = private
    system = tmp_path / "system.crt"
    system.write_text(f"# Főtanúsítvány\n{authority.read_text()}" * 300)
    given = LinkOptions(ca_file=system)
    fetch_file(cluster_of_none(), clip(f"{base}/clip"), "video", tmp_path / "clip.mp4", given)
