"""What a request is given is found, waited for, and never somebody else's."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest

from kinema_api.generation import KIND, VideoGeneration
from kinema_api.inputs import TaskName
from kinema_api.objectstore import StoreLocation
from kinema_api.objectstores import FolderStore
from kinema_model.conditions.tasks import Task
from kinema_operator.generation.inputs import MAX_INPUT_BYTES, Inputs, InputUnusable

ELSEWHERE = {"endpoint": "http://store:9000", "bucket": "kinema", "secretRef": {"name": "keys"}}


class S3Folder(FolderStore):
    """A folder that names its objects as S3 does."""

    def uri(self, key: str) -> str:
        return f"s3://kinema/{key}"


class OneStore:
    """The same store for everybody."""

    def __init__(self, store: FolderStore) -> None:
        self.store = store

    async def for_object(self, _namespace: str, _artifact_store: object) -> FolderStore:
        return self.store


class Known(dict[str, dict[str, Any]]):
    """A cache of generations by name."""

    def get(self, kind: str, namespace: str, name: str) -> dict[str, Any] | None:  # type: ignore[override]
        return super().get(name) if (kind, namespace) == (KIND, "studio") else None


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    (tmp_path / "kinema").mkdir()
    return S3Folder(StoreLocation(endpoint=tmp_path.as_uri(), bucket="kinema"))


def generation(uid: str = "uid-clip", **spec: Any) -> dict[str, Any]:
    metadata = {"name": "clip", "namespace": "studio", "uid": uid}
    return {"metadata": metadata, "spec": {"modelRef": {"name": "tiny"}, "prompt": "a red square", **spec}}


def inputs(store: FolderStore, cache: Known | None = None, **spec: Any) -> Inputs:
    wanted = VideoGeneration.parse(generation(**spec))
    known: Any = cache or Known()
    stores: Any = OneStore(store)
    return Inputs(wanted, wanted.spec.artifact_store, known, stores)


def done(phase: str = "Succeeded") -> dict[str, Any]:
    video = {
        "uri": "s3://kinema/generations/studio/uid-first/video.mp4",
        "sha256": "a" * 64,
        "bytes": 4,
        "seconds": 1,
        "size": "24x24",
    }
    return {**generation("uid-first"), "status": {"phase": phase, "video": video if phase == "Succeeded" else None}}


async def problem(wanted: Inputs) -> tuple[str, str, bool]:
    with pytest.raises(InputUnusable) as refused:
        await wanted.find()
    found = refused.value.problem
    return found.reason, found.message, found.fatal


async def test_the_clip_of_another_request_with_its_digest(store: FolderStore) -> None:
    store.put("generations/studio/uid-first/video.mp4", b"clip")
    (found,) = await inputs(store, Known(first=done()), task="extend", input={"generation": "first"}).find()
    assert (found.name, found.key, found.sha256, found.bytes) == (
        "input",
        "generations/studio/uid-first/video.mp4",
        "a" * 64,
        4,
    )


async def test_objects_of_the_namespace_and_a_mask(store: FolderStore) -> None:
    store.put("inputs/studio/clip.mp4", b"clip")
    store.put("inputs/studio/mask.png", b"mask!")
    wanted = inputs(
        store,
        task="inpaint",
        input={"uri": "s3://kinema/inputs/studio/clip.mp4"},
        mask={"uri": "s3://kinema/inputs/studio/mask.png"},
    )
    assert [(f.name, f.bytes, f.sha256) for f in await wanted.find()] == [("input", 4, None), ("mask", 5, None)]


@pytest.mark.parametrize(
    ("cache", "reason", "fatal", "sentence"),
    [
        (Known(), "InputNotFound", False, "create it or correct the name"),
        (Known(first=generation()), "InputNotReady", False, "has not succeeded yet"),
        (Known(first=done("Failed")), "InputFailed", True, "failed, so it has no clip"),
        (Known(first=done("Cancelled")), "InputFailed", True, "create another VideoGeneration"),
        (Known(first=done()), "InputNotFound", False, "does not exist; upload it or correct the uri"),
    ],
)
async def test_what_may_yet_appear_is_waited_for(
    store: FolderStore, cache: Known, reason: str, fatal: bool, sentence: str
) -> None:
    found = await problem(inputs(store, cache, task="extend", input={"generation": "first"}))
    assert (found[0], found[2]) == (reason, fatal)
    assert sentence in found[1]


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("s3://kinema/inputs/others/clip.mp4", "InputNotYours"),
        ("s3://kinema/generations/others/uid/video.mp4", "InputNotYours"),
        ("s3://kinema/models/abc/model.safetensors", "InputNotYours"),
        ("s3://kinema/inputs/studio-two/clip.mp4", "InputNotYours"),
        ("s3://elsewhere/inputs/studio/clip.mp4", "InputElsewhere"),
    ],
)
async def test_what_is_somebody_elses_is_refused_for_good(store: FolderStore, uri: str, reason: str) -> None:
    for key in ("inputs/others/clip.mp4", "generations/others/uid/video.mp4", "models/abc/model.safetensors"):
        store.put(key, b"secret")
    found = await problem(inputs(store, task="extend", input={"uri": uri}))
    assert (found[0], found[2]) == (reason, True)


async def test_in_a_store_of_their_own_people_name_what_they_like(store: FolderStore) -> None:
    store.put("films/clip.mp4", b"clip")
    wanted = inputs(store, task="extend", input={"uri": "s3://kinema/films/clip.mp4"}, artifactStore=ELSEWHERE)
    assert [found.key for found in await wanted.find()] == ["films/clip.mp4"]


async def test_a_file_too_large_to_fetch_is_refused(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.put("inputs/studio/clip.mp4", b"x" * 64)
    monkeypatch.setattr("kinema_operator.generation.inputs.MAX_INPUT_BYTES", 63)
    found = await problem(inputs(store, task="edit", input={"uri": "s3://kinema/inputs/studio/clip.mp4"}))
    assert (found[0], found[2]) == ("InputTooLarge", True)
    assert MAX_INPUT_BYTES > 1 << 20


def test_the_api_names_the_tasks_of_the_model() -> None:
    assert set(TaskName.__args__) == {task.value for task in Task}


PICTURE = b"a picture"
UPLOADED = {"upload": {"sha256": hashlib.sha256(PICTURE).hexdigest(), "bytes": len(PICTURE)}}


async def test_an_upload_is_waited_for_and_taken_as_the_spec_says(store: FolderStore) -> None:
    wanted = inputs(store, task="inpaint", input=UPLOADED, mask=UPLOADED)
    assert await problem(wanted) == ("InputNotReady", ANY, False)
    for field in ("input", "mask"):
        store.put(f"generations/studio/uid-clip/uploads/{field}", b"half")
    assert await problem(wanted) == ("InputNotReady", ANY, False)
    for field in ("input", "mask"):
        store.put(f"generations/studio/uid-clip/uploads/{field}", PICTURE)
    assert [(one.name, one.bytes, one.sha256) for one in await wanted.taken(store)] == [
        ("input", len(PICTURE), UPLOADED["upload"]["sha256"]),
        ("mask", len(PICTURE), UPLOADED["upload"]["sha256"]),
    ]


async def test_an_upload_of_other_bytes_than_the_spec_says_is_not_taken(store: FolderStore) -> None:
    wanted = inputs(store, task="image", input=UPLOADED)
    store.put("generations/studio/uid-clip/uploads/input", b"other one")
    with pytest.raises(InputUnusable) as refused:
        await wanted.taken(store)
    assert (refused.value.problem.reason, refused.value.problem.fatal) == ("InputChanged", True)
    assert store.stat("generations/studio/uid-clip/inputs/input") is None
