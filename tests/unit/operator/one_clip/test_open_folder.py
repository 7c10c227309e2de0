"""A folder of weights as a model: its manifest is the model, its files are ordered, and what it holds later is not."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import pytest

from kinema_api import layout, serving
from kinema_api.base import find_condition
from kinema_api.card import CARD, ModelCard, NativeShape
from kinema_api.manifest import Manifest, ManifestFile
from kinema_api.serving import VideoModel
from unit.operator.one_clip.world import MODEL, NAMESPACE

NewWorld = Callable[[], Any]

PREFIX = f"inputs/{NAMESPACE}/wan/"
URI = f"s3://kinema/{PREFIX}"
CARD_OF_WAN = ModelCard(
    pipeline="WanPipeline",
    tasks=("text",),
    license="apache-2.0",
    native=(NativeShape(height=480, width=832, frames=81, fps=16),),
)


def upload(world: Any, prefix: str = PREFIX, weights: bytes = b"weights", **changes: Any) -> Manifest:
    """Write a folder as `kinema upload` does, the manifest last."""
    contents = {
        CARD: CARD_OF_WAN.model_dump_json(by_alias=True).encode(),
        "model_index.json": b"{}",
        "transformer/diffusion_pytorch_model.safetensors": weights,
    }
    files = tuple(
        ManifestFile(name=name, sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))
        for name, data in contents.items()
    )
    manifest = Manifest(**{"kind": "model", "files": files, **changes})
    for name, data in contents.items():
        world.store.put(prefix + name, data)
    world.store.put(prefix + layout.MANIFEST, manifest.to_bytes())
    return manifest


def apply_folder(world: Any, uri: str = URI) -> None:
    world._create(serving.KIND, MODEL, {"source": {"folder": uri}, "serving": {}})


def status(world: Any) -> serving.VideoModelStatus:
    return VideoModel.parse(world.api.get(serving.KIND, NAMESPACE, MODEL)).status


def resolved(world: Any) -> tuple[str, str, str]:
    found = find_condition(status(world).conditions, "Resolved")
    assert found is not None
    return found.status, found.reason, found.message


async def test_a_folder_is_served_by_the_digest_of_its_manifest(new_world: NewWorld) -> None:
    world = new_world()
    manifest = upload(world)
    apply_folder(world)
    world.ask("red-square")
    await world.run(world.operator(), world.all_ended)

    found = status(world)
    assert (found.digest, found.uri, found.card) == (manifest.digest(), URI, CARD_OF_WAN)
    assert found.bytes == sum(file.bytes for file in manifest.files)
    ended = world.generation("red-square").status
    assert (ended.phase, ended.model_digest) == ("Succeeded", manifest.digest())
    assert ended.stores.folder == URI
    (order,) = world.server_of("red-square").given
    assert order.model.manifest_url.endswith(PREFIX + layout.MANIFEST)
    assert {offered.url for offered in order.model.files} == {
        world.store.presign_get(PREFIX + file.name, None) for file in manifest.files
    }


async def test_a_folder_that_is_written_again_is_another_model_for_new_requests(new_world: NewWorld) -> None:
    world = new_world()
    upload(world)
    apply_folder(world)
    world.ask("before")
    operator = await world.run(world.operator(), world.all_ended)
    changed = upload(world, weights=b"other weights")
    forget_the_folder(operator)
    world.ask("after")
    await world.run(operator, world.all_ended)
    assert world.generation("after").status.model_digest == status(world).digest == changed.digest()
    assert world.generation("after").status.phase == "Succeeded"


async def test_an_accepted_request_is_never_rendered_by_what_its_folder_holds_later(new_world: NewWorld) -> None:
    world = new_world()
    upload(world)
    apply_folder(world)
    world.ask("red-square")
    operator = await world.run(world.operator(), lambda: world.generation("red-square").status.model_digest is not None)
    upload(world, weights=b"other weights")
    forget_the_folder(operator)
    await world.run(operator, world.all_ended)
    ended = world.generation("red-square").status
    failed = find_condition(ended.conditions, "Failed")
    assert failed is not None
    assert (ended.phase, failed.reason) == ("Failed", "FolderChanged")
    assert "create another VideoGeneration" in failed.message
    assert not any(server.given for server in world.all_servers)


async def test_a_request_keeps_its_folder_when_the_model_names_another(new_world: NewWorld) -> None:
    world = new_world()
    first = upload(world)
    upload(world, "shared/wan/", b"other weights")
    apply_folder(world)
    world.ask("red-square")
    operator = await world.run(world.operator(), lambda: world.generation("red-square").status.model_digest is not None)
    world.edit(serving.KIND, MODEL, source={"folder": "s3://kinema/shared/wan/"})
    await world.run(operator, world.all_ended)
    assert status(world).uri == "s3://kinema/shared/wan/"
    ended = world.generation("red-square").status
    assert (ended.phase, ended.model_digest, ended.stores.folder) == ("Succeeded", first.digest(), URI)


def forget_the_folder(operator: Any) -> None:
    """As after FRESH_SECONDS."""
    operator._models._folders.__init__()


@pytest.mark.parametrize(
    ("uri", "reason", "said"),
    [
        (URI, "FolderNotFound", f"run `kinema upload FOLDER {URI}`"),
        ("s3://kinema/inputs/others/wan/", "FolderNotAllowed", "upload it below inputs/studio/ or shared/"),
        (f"s3://kinema/inputs/{NAMESPACE}-2/wan/", "FolderNotAllowed", "does not belong to this namespace"),
        ("s3://kinema/models/abc/", "FolderNotAllowed", "does not belong to this namespace"),
        ("s3://elsewhere/shared/wan/", "FolderNotAllowed", "not in the bucket 'kinema'"),
    ],
)
async def test_a_folder_that_cannot_be_served_is_refused_with_a_remedy(
    new_world: NewWorld, uri: str, reason: str, said: str
) -> None:
    world = new_world()
    upload(world, "inputs/others/wan/")
    upload(world, f"inputs/{NAMESPACE}-2/wan/")
    apply_folder(world, uri)
    await world.operator().look_around()
    value, why, message = resolved(world)
    assert (value, why, said in message) == ("False", reason, True), message
    assert status(world).digest is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda manifest: manifest.to_bytes() + b"\n", "not canonical JSON"),
        (lambda manifest: b"{}", "not a readable manifest"),
        (
            lambda manifest: manifest.to_bytes().replace(b'"kind":"model"', b'"kind":"checkpoint"'),
            "is the manifest of a checkpoint",
        ),
        (lambda manifest: manifest.to_bytes().replace(b"model_index.json", b"../../index.json"), "not a readable"),
    ],
    ids=["whitespace", "nothing", "another kind", "another folder"],
)
async def test_a_manifest_that_is_none_is_refused(
    new_world: NewWorld, change: Callable[[Manifest], bytes], said: str
) -> None:
    world = new_world()
    world.store.put(PREFIX + layout.MANIFEST, change(upload(world)))
    apply_folder(world)
    await world.operator().look_around()
    value, why, message = resolved(world)
    assert (value, why, said in message) == ("False", "BrokenModel", True), message


@pytest.mark.parametrize("card", [b"[", b'{"license":"%s"}' % (b"x" * 500), b'{"tags":7}', b"x" * (1 << 17)])
async def test_a_card_that_is_none_is_left_out(new_world: NewWorld, card: bytes) -> None:
    world = new_world()
    written = upload(world)
    files = tuple(
        file.model_copy(update={"sha256": hashlib.sha256(card).hexdigest(), "bytes": len(card)})
        if file.name == CARD
        else file
        for file in written.files
    )
    world.store.put(PREFIX + CARD, card)
    world.store.put(PREFIX + layout.MANIFEST, written.model_copy(update={"files": files}).to_bytes())
    apply_folder(world)
    await world.operator().look_around()
    assert status(world).digest is not None
    assert status(world).card is None
