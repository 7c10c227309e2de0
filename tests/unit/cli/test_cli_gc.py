"""`kinema gc` finds what deleted resources left in the bucket, and deletes it only when told to."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from kinema_api import layout
from kinema_api.objectstore import ObjectStore, StoreLocation
from kinema_api.objectstores import open_store
from kinema_cli.main import main

KEPT = [
    layout.training_prefix("films", "alive", "uid-alive") + "run-001/attempt-001/head.json",
    layout.generation_prefix("films", "uid-clip") + "video.mp4",
    layout.generation_prefix("others", "uid-gone") + "video.mp4",
    layout.inputs_prefix("films") + "photo.png",
    layout.model_prefix("sha256:" + "a" * 64) + "manifest.json",
]
LEFT = [
    # The same name was used again: what the first one left is an orphan, what the second has is not.
    layout.training_prefix("films", "alive", "uid-before") + "run-001/attempt-001/head.json",
    layout.training_prefix("films", "alive", "uid-before") + "run-001/attempt-001/export/model.safetensors",
    layout.generation_prefix("films", "uid-gone") + "video.mp4",
    layout.generation_attempt_prefix("films", "uid-gone", 1) + "video.mp4",
]


class _Living(BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        uid = "uid-alive" if "videomodeltrainings" in self.path else "uid-clip"
        content = json.dumps({"items": [{"metadata": {"name": "alive", "uid": uid}}]}).encode()
        self.send_response(self.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def api() -> Iterator[ThreadingHTTPServer]:
    _Living.status = 200
    http = ThreadingHTTPServer(("127.0.0.1", 0), _Living)
    thread = threading.Thread(target=http.serve_forever)
    thread.start()
    yield http
    http.shutdown()
    thread.join()
    http.server_close()


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    made = open_store(StoreLocation(endpoint=f"file://{tmp_path}/store", bucket="kinema"), None)
    for key in (*KEPT, *LEFT):
        made.put(key, b"12345")
    return made


def gc(tmp_path: Path, api: ThreadingHTTPServer, *arguments: str, endpoint: str | None = None) -> Result:
    config: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u", "namespace": "films"}}],
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{api.server_port}"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
    }
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    where = ["--endpoint", endpoint or f"file://{tmp_path}/store", "--bucket", "kinema"]
    return CliRunner(env={"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}).invoke(
        main, ["gc", *where, "--kubeconfig", str(tmp_path / "kubeconfig"), *arguments]
    )


def keys(store: ObjectStore) -> set[str]:
    return {item.key for item in store.list("")}


def test_what_deleted_resources_left_is_listed_and_nothing_is_deleted(
    tmp_path: Path, api: ThreadingHTTPServer, store: ObjectStore
) -> None:
    result = gc(tmp_path, api, "--json")
    assert result.exit_code == 0, result.output
    assert {one["prefix"]: (one["objects"], one["bytes"], one["deleted"]) for one in json.loads(result.stdout)} == {
        "trainings/films/alive/uid-before/": (2, 10, False),
        "generations/films/uid-gone/": (2, 10, False),
    }
    assert keys(store) == {*KEPT, *LEFT}


def test_only_orphans_are_deleted_when_told_to(tmp_path: Path, api: ThreadingHTTPServer, store: ObjectStore) -> None:
    result = gc(tmp_path, api, "--delete")
    assert result.exit_code == 0, result.output
    assert keys(store) == set(KEPT)


def test_nothing_is_deleted_when_the_cluster_does_not_say_what_lives(
    tmp_path: Path, api: ThreadingHTTPServer, store: ObjectStore
) -> None:
    _Living.status = 503
    result = gc(tmp_path, api, "--delete")
    assert result.exit_code == 3, result.output
    assert keys(store) == {*KEPT, *LEFT}


def test_the_keys_to_the_store_are_the_users_own(tmp_path: Path, api: ThreadingHTTPServer, store: ObjectStore) -> None:
    result = gc(tmp_path, api, "--delete", endpoint="http://127.0.0.1:1")
    assert result.exit_code == 2
    assert "AWS_ACCESS_KEY_ID" in result.stderr
