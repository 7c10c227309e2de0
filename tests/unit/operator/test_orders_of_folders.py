"""What an order of a large folder takes, and what a status tells of a model that is fetched."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from kinema_api import layout
from kinema_api.base import find_condition
from kinema_api.errors import BrokenManifest
from kinema_api.generation import VideoGenerationStatus
from kinema_api.manifest import Manifest, ManifestFile
from kinema_api.objectstore import StoreCredentials, StoreLocation
from kinema_api.objectstores import FolderStore, open_store
from kinema_api.wire import MAX_ORDER_BYTES, MAX_ORDERED_FILES
from kinema_operator.core.settings import Settings
from kinema_operator.generation.effects import SendOrder
from kinema_operator.generation.observed import CommittedFile, Inspection
from kinema_operator.generation.plan import plan
from kinema_operator.generation.work_order import FolderChanged, read_model, work_order
from unit.operator.test_generation_plan import NOW, SETTINGS, SHA, after, clip, on_server, order, pod, result, status

WARNING = "the model was not made for 64x32, but for 832x480"


def manifest(files: int) -> Manifest:
    names = (f"transformer/diffusion_pytorch_model-{number:05}-of-{files:05}.safetensors" for number in range(files))
    return Manifest(kind="model", files=tuple(ManifestFile(name=name, sha256=SHA, bytes=1 << 33) for name in names))


def test_an_order_of_the_longest_folder_fits() -> None:
    keys = StoreCredentials(access_key="A" * 128, secret_key="s", session_token="t" * 1024)
    location = StoreLocation(endpoint="https://" + "s" * 63 + ".example.com", bucket="b" * 63)
    store = open_store(location, keys)
    longest = manifest(MAX_ORDERED_FILES)
    request = clip(prompt="é" * 4096, negativePrompt="é" * 4096)
    send = SendOrder(pod(), 1, longest.digest(), 7)
    made = work_order(request, send, longest, store, "inputs/films/wan/", store, timedelta(days=7))
    assert len(made.model_dump_json(by_alias=True).encode()) < MAX_ORDER_BYTES


def test_a_manifest_is_read_only_as_what_was_accepted(tmp_path: Any) -> None:
    (tmp_path / "kinema").mkdir()
    store = FolderStore(StoreLocation(endpoint=tmp_path.as_uri(), bucket="kinema"))
    for number in (1, 2, MAX_ORDERED_FILES + 1):
        store.put(f"inputs/{number}/{layout.MANIFEST}", manifest(number).to_bytes())
    assert read_model(store, manifest(1).digest(), "inputs/1/") == manifest(1)
    with pytest.raises(FolderChanged, match="create another VideoGeneration"):
        read_model(store, manifest(1).digest(), "inputs/2/")
    with pytest.raises(BrokenManifest, match="use larger shards"):
        read_model(store, manifest(MAX_ORDERED_FILES + 1).digest(), f"inputs/{MAX_ORDERED_FILES + 1}/")


def test_a_manifest_of_before_has_the_digest_that_it_had() -> None:
    written = (
        b'{"attempt":1,"created":"2026-01-01T00:00:00Z","files":[],"kind":"model","round":1,"run":1,"samples":0,'
        b'"step":2,"worldSize":1}'
    )
    assert Manifest.from_bytes(written, "it").to_bytes() == written
    with pytest.raises(BrokenManifest, match="the manifest of a checkpoint lacks attempt, created"):
        Manifest.from_bytes(b'{"kind":"checkpoint","files":[],"run":1}', "it")


def test_a_server_that_fetches_a_large_model_is_not_stuck() -> None:
    limit = SETTINGS.server_unmeasured_seconds
    now, current = NOW, status("Scheduled")
    for percent in (0, 1, 2):
        answer = order("loading", loaded_percent=percent)
        decided = plan(clip(current, deadlineSeconds=86400), on_server(answer), SETTINGS, now)
        current = after(decided)
        assert current.phase == "Running"
        assert current.progress is not None
        assert current.progress.loaded_percent == percent
        now += timedelta(seconds=0.9 * limit)
    stuck = plan(clip(current, deadlineSeconds=86400), on_server(answer), SETTINGS, now + timedelta(seconds=limit))
    assert after(stuck).failures == 1


def test_warnings_of_a_server_reach_the_status() -> None:
    made = result(layout.VIDEO).model_copy(update={"warnings": (WARNING,) * 20})
    delivered = plan(
        clip(status("Running")), on_server(order("succeeded", result=made), inspection=Inspection()), SETTINGS, NOW
    )
    assert after(delivered).warnings == (WARNING,) * 8
    committed = CommittedFile(layout.VIDEO, "s3://kinema/video.mp4", "", NOW, SHA, 3)
    ended = plan(
        clip(after(delivered)), on_server(inspection=Inspection(committed=(committed,)), leftovers=()), Settings(), NOW
    )
    succeeded = find_condition(after(ended).conditions, "Succeeded")
    assert succeeded is not None
    assert WARNING in succeeded.message
    assert isinstance(after(ended), VideoGenerationStatus)
