"""`kinema upload` to a real MinIO: files in parts, digests beside objects, and the whole check of open weights."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from integration.suite_store import KEYS, bucket
from kinema_api import layout
from kinema_api.card import CARD
from kinema_api.manifest import Manifest
from kinema_api.objectstore import ObjectStore
from kinema_api.s3store import PART_BYTES
from kinema_cli.main import main
from wan_folders import write_wan_folder

PREFIX = "inputs/films/wan/"
NETWORK = "transformer/diffusion_pytorch_model.safetensors"


@pytest.fixture
def store(minio_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEYS.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEYS.secret_key)
    monkeypatch.setenv("KINEMA_STORE_ENDPOINT", minio_endpoint)
    return bucket(minio_endpoint, "uploads")


def upload(folder: Path, prefix: str = PREFIX) -> dict[str, Any]:
    result = CliRunner().invoke(main, ["upload", str(folder), f"s3://uploads/{prefix}", "--json"])
    found: dict[str, Any] = json.loads(result.output.splitlines()[-1] if result.exit_code else result.output)
    return found | {"code": result.exit_code}


def test_a_large_file_goes_in_parts_and_once(store: ObjectStore, tmp_path: Path) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    (clips / "long.mp4").write_bytes(os.urandom(2 * PART_BYTES + 5))
    said = upload(clips, "inputs/films/clips/")
    assert (said["code"], said["sent"]) == (0, 1)
    there = store.stat("inputs/films/clips/long.mp4")
    assert there is not None
    assert there.etag.endswith("-3")
    assert there.sha256 == store.sha256("inputs/films/clips/long.mp4")[0]
    assert upload(clips, "inputs/films/clips/")["sent"] == 0


def test_open_weights_are_checked_before_they_are_sent(store: ObjectStore, tmp_path: Path) -> None:
    folder = tmp_path / "wan"
    write_wan_folder(folder, "ti2v")
    (folder / "transformer" / "old.bin").write_bytes(b"a pickle")
    said = upload(folder)
    assert (said["code"], said["leftOut"]) == (0, ["transformer/old.bin"])
    manifest = Manifest.read(store, PREFIX + layout.MANIFEST)
    assert said["digest"] == manifest.digest()
    card = json.loads(store.get(PREFIX + CARD))
    assert (card["pipeline"], card["tasks"]) == ("WanPipeline", ["text", "image"])

    os.truncate(folder / NETWORK, 100)
    refused = upload(folder, "inputs/films/other/")
    assert refused["code"] == 2
    assert NETWORK in refused["error"]
    assert list(store.list("inputs/films/other/")) == []
