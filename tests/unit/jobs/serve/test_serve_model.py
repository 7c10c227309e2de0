"""The model of an order: verified file by file, cached, and refused when a byte is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kinema_api import layout
from kinema_api.manifest import Manifest

Order = Callable[..., dict[str, Any]]


@pytest.mark.parametrize("name", ["diffusion_pytorch_model.safetensors", "config.json"])
async def test_a_flipped_byte_is_refused_by_name(server: Any, store: Any, make_order: Order, name: str) -> None:
    data = bytearray(store.objects[name])
    data[len(data) // 2] ^= 1
    store.objects[name] = bytes(data)

    await server.submit(make_order())
    state = await server.ended("uid-1")

    assert (state.phase, state.retriable) == ("failed", False)
    assert name in state.error
    assert "publish the model again" in state.error
    assert not any(stored.startswith("out/") for stored in store.objects)


async def test_a_server_recovers_when_the_model_is_put_right(server: Any, store: Any, make_order: Order) -> None:
    good = store.objects["diffusion_pytorch_model.safetensors"]
    store.objects["diffusion_pytorch_model.safetensors"] = good[:-1] + bytes([good[-1] ^ 1])
    await server.submit(make_order())
    assert (await server.ended("uid-1")).phase == "failed"
    store.objects["diffusion_pytorch_model.safetensors"] = good
    await server.submit(make_order(uid="uid-2"))
    assert (await server.ended("uid-2")).phase == "succeeded"


async def test_another_digest_than_the_servers_is_refused(server: Any, make_order: Order) -> None:
    order = make_order()
    order["model"]["digest"] = "sha256:" + "0" * 64
    status, body = await server.submit(order)
    assert status == 400
    assert "use a server of that digest" in body["error"]


async def test_a_manifest_of_another_digest_is_refused(server: Any, store: Any, make_order: Order) -> None:
    manifest = json.loads(store.objects[layout.MANIFEST])
    manifest["step"] += 1
    store.objects[layout.MANIFEST] = json.dumps(manifest).encode()
    await server.submit(make_order())
    state = await server.ended("uid-1")
    assert (state.phase, state.retriable) == ("failed", False)
    assert "manifest.json has the digest" in state.error


async def test_what_the_order_says_of_a_file_does_not_replace_the_manifest(
    server: Any, store: Any, make_order: Order
) -> None:
    store.objects["config.json"] += b" "
    order = make_order()
    for offered in order["model"]["files"]:
        if offered["file"]["name"] == "config.json":
            offered["file"]["bytes"] += 1
    await server.submit(order)
    state = await server.ended("uid-1")
    assert (state.phase, state.retriable) == ("failed", False)
    assert "config.json is longer than" in state.error


async def test_a_file_without_an_address_or_object_is_named(server: Any, store: Any, make_order: Order) -> None:
    order = make_order()
    order["model"]["files"] = [f for f in order["model"]["files"] if f["file"]["name"] != "card.md"]
    await server.submit(order)
    assert "no URL for card.md" in (await server.ended("uid-1")).error

    del store.objects["card.md"]
    await server.submit(make_order(uid="uid-2"))
    state = await server.ended("uid-2")
    assert (state.retriable, "card.md does not exist" in state.error) == (False, True)


@pytest.mark.parametrize("name", ["..", ".", "manifest.json", "vae/../..", "/etc/passwd", "vae//a", "vae/", "a\\b"])
async def test_a_name_that_leaves_the_folder_is_refused(tmp_path: Path, model_folder: Path, name: str) -> None:
    from kinema_jobs.errors import ModelUnusable
    from kinema_jobs.model_folder import verify_folder

    manifest = Manifest.from_bytes((model_folder / layout.MANIFEST).read_bytes(), "manifest")
    first = manifest.files[0].model_copy(update={"name": name})
    hostile = manifest.model_copy(update={"files": (first, *manifest.files[1:])})
    (model_folder / layout.MANIFEST).write_bytes(hostile.to_bytes())
    with pytest.raises(ModelUnusable, match=r"plain file names|not a readable manifest"):
        verify_folder(model_folder)


async def test_a_store_that_is_away_for_a_while_costs_nothing(server: Any, store: Any, make_order: Order) -> None:
    store.failures.update({"diffusion_pytorch_model.safetensors": 3, layout.MANIFEST: 1, "out/uid-1/1/video.mp4": 3})
    await server.submit(make_order())
    state = await server.ended("uid-1")
    assert state.phase == "succeeded", state.error


async def test_a_store_that_stays_away_is_worth_another_try(server: Any, store: Any, make_order: Order) -> None:
    store.failures["out/uid-1/1/video.mp4"] = 1_000_000
    await server.submit(make_order())
    state = await server.ended("uid-1")
    assert (state.phase, state.retriable) == ("failed", True)
    assert "video.mp4" in state.error
    assert "topsecret" not in state.error


async def test_an_expired_address_is_worth_another_attempt(server: Any, store: Any, make_order: Order) -> None:
    store.refuse.add("out/uid-1/1/thumbnail.webp")
    await server.submit(make_order())
    state = await server.ended("uid-1")
    assert (state.phase, state.retriable) == ("failed", True)
    assert "thumbnail.webp cannot be uploaded" in state.error
    assert "topsecret" not in state.error
