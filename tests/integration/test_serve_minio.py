"""A server process and a real MinIO: presigned addresses of S3 are what orders carry in a cluster."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from integration.suite_store import bucket
from integration.untrained import publish
from kinema_api import layout
from kinema_api.manifest import Manifest
from kinema_api.objectstore import ObjectStore

HOUR = timedelta(hours=1)
ARTEFACTS = (layout.VIDEO, layout.THUMBNAIL, layout.SPRITESHEET, layout.REQUEST)
TIMING = re.compile(rb"on port (\d+), ready after ([0-9.]+) s")


@pytest.fixture
def store(minio_endpoint: str) -> ObjectStore:
    return bucket(minio_endpoint, "serve")


@pytest.fixture
def manifest(store: ObjectStore, tmp_path: Path) -> Manifest:
    return publish(store, tmp_path / "export")


@pytest.fixture
def server(manifest: Manifest, tmp_path: Path) -> Iterator[str]:
    """A server process's address."""
    command = [sys.executable, "-m", "kinema_jobs.serve", "--digest", manifest.digest(), "--port", "0"]
    cache = str(tmp_path / "cache")
    environment = {**os.environ, "KINEMA_SERVER_CACHE_DIR": cache, "KINEMA_SERVER_HOST": "127.0.0.1"}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if found := TIMING.search(line):
                print(f"ready after {found[2].decode()} s")
                yield f"http://127.0.0.1:{found[1].decode()}"
                break
        process.terminate()
        assert process.wait() == 0


def order(store: ObjectStore, manifest: Manifest, attempt: int) -> dict[str, Any]:
    prefix = layout.model_prefix(manifest.digest())
    target = layout.generation_attempt_prefix("films", "uid-1", attempt)
    return {
        "uid": "uid-1",
        "attempt": attempt,
        "namespace": "films",
        "name": "red-square",
        "model": {
            "digest": manifest.digest(),
            "manifestUrl": store.presign_get(prefix + layout.MANIFEST, HOUR),
            "files": [{"file": f.to_wire(), "url": store.presign_get(prefix + f.name, HOUR)} for f in manifest.files],
        },
        "prompt": "a red square moves right",
        "seconds": 1,
        "size": "24x24",
        "seed": 1,
        "steps": 24,
        "guidanceScale": 3,
        "uploads": [{"name": n, "url": store.presign_put(target + n, HOUR)} for n in ARTEFACTS],
    }


def ask(base: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(base + path, data=data), timeout=30) as answer:
        found: dict[str, Any] = json.loads(answer.read())
    return found


def ended(base: str) -> dict[str, Any]:
    until = time.monotonic() + 120
    while time.monotonic() < until:
        state = ask(base, "/v1/orders/uid-1")
        if state["phase"] in ("succeeded", "failed", "cancelled"):
            return state
    pytest.fail(f"not ended: {state}")


def test_a_clip_lies_in_the_bucket_below_its_attempt(server: str, store: ObjectStore, manifest: Manifest) -> None:
    ask(server, "/v1/orders", order(store, manifest, 1))
    first = ended(server)
    assert first["phase"] == "succeeded", first
    ask(server, "/v1/orders", order(store, manifest, 2))
    second = ended(server)

    for state, attempt in ((first, 1), (second, 2)):
        print({key: value for key, value in state["result"].items() if key.endswith("Seconds")})
        prefix = layout.generation_attempt_prefix("films", "uid-1", attempt)
        for file in state["result"]["files"]:
            assert store.sha256(prefix + file["name"]) == (file["sha256"], file["bytes"])
        assert sorted(o.key for o in store.list(prefix)) == sorted(prefix + n for n in ARTEFACTS)
    videos = [next(f["sha256"] for f in s["result"]["files"] if f["name"] == layout.VIDEO) for s in (first, second)]
    assert videos[0] == videos[1]


def test_a_signature_that_has_ended_is_worth_another_attempt(
    server: str, store: ObjectStore, manifest: Manifest
) -> None:
    spoilt = order(store, manifest, 1)
    spoilt["uploads"][0]["url"] = spoilt["uploads"][0]["url"].replace("X-Amz-Signature=", "X-Amz-Signature=0")
    ask(server, "/v1/orders", spoilt)
    state = ended(server)
    assert (state["phase"], state["retriable"]) == ("failed", True)
    assert "another attempt" in state["error"]
    assert "X-Amz" not in state["error"]
