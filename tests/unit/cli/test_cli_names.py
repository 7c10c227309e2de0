"""What people type as a name reaches no other object of the cluster than one of that name."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import urllib3
from kubernetes import client

from kinema_cli.cluster import Cluster
from kinema_cli.errors import BadManifest

ASKED: list[str] = []


class _Handler(BaseHTTPRequestHandler):
    def _answer(self) -> None:
        ASKED.append(self.path)
        body = b'{"metadata": {"name": "x"}}'
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PATCH = do_DELETE = _answer

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def api() -> Iterator[client.ApiClient]:
    ASKED.clear()
    server = HTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    settings = client.Configuration(host=f"http://127.0.0.1:{server.server_port}")
    settings.retries = urllib3.Retry(total=0)
    yield client.ApiClient(settings)
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("name", ["..", ".", "", "../../kinema-system/videomodels/m", "a/b", "a%2fb", "a\x00b"])
def test_a_name_that_leads_elsewhere_is_refused_before_anything_is_asked(api: client.ApiClient, name: str) -> None:
    cluster = Cluster(api, "studio")
    for request in (
        lambda: cluster.get("videomodels", name),
        lambda: cluster.patch("videomodels", name, {}),
        lambda: cluster.apply("videomodels", {"metadata": {"name": name}}, force=False),
        lambda: cluster.pod_get(name, 9400, "progress"),
        lambda: list(cluster.log(name, follow=False)),
        lambda: Cluster(api, name).get("videomodels", "m"),
    ):
        with suppress(BadManifest, ValueError):
            request()
    assert ASKED == []
    with pytest.raises(BadManifest, match="without slashes"):
        cluster.get("videomodels", name)
