"""Open weights behind the API of a server, and by the local command: tiny folders with random weights."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from kinema_api import layout
from kinema_api.clip import ClipRequest
from kinema_jobs.clip.expansion import ExpansionSettings
from kinema_jobs.clip.loading import open_model
from kinema_jobs.clip.make import resolve
from kinema_jobs.clip.model import ClipModel, Defaults
from kinema_jobs.clip.rendering import open_pipeline
from kinema_jobs.errors import ModelTooLarge
from kinema_jobs.serve import pieces
from kinema_model.conditions.tasks import Task
from kinema_model.errors import ModelError, ShapeError
from kinema_model.network.config import PUBLISHED
from kinema_model.open_weights.folder import OpenFolder
from kinema_model.open_weights.native import UNKNOWN, published_name, usual
from unit.jobs.serve.conftest import Order, write_manifest
from unit.jobs.serve.test_serve_as_local import Local
from wan_folders import Kind, write_wan_folder

pytestmark = pytest.mark.slow

FIELDS = {"prompt": "a red ball", "negativePrompt": "grey", "seed": 3, "steps": 2, "seconds": 0.5, "size": "64x32"}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[Kind, Path]:
    root = tmp_path_factory.mktemp("wan")
    kinds: tuple[Kind, ...] = ("ti2v", "a14b")
    for kind in kinds:
        write_wan_folder(root / kind, kind)
        write_manifest(root / kind)
    return {kind: root / kind for kind in kinds}


@pytest.fixture
def model_folder(written: dict[Kind, Path]) -> Path:
    """Replaces the model of the other suites."""
    return written["ti2v"]


@pytest.fixture(scope="module")
def ti2v(written: dict[Kind, Path]) -> ClipModel:
    return open_model(written["ti2v"])


def _order(make: Order, **fields: Any) -> dict[str, Any]:
    order = make(**{**FIELDS, **fields})
    for name in ("guidanceScale",) if "guidanceScale" not in fields else ():
        del order[name]
    return order


async def test_a_served_clip_is_that_of_the_local_command(
    server: Any,
    store: Any,
    make_order: Order,
    model_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
) -> None:
    defaults = pieces.fetch_file.__defaults__ or ()
    monkeypatch.setattr(pieces.fetch_file, "__defaults__", (*defaults[:-1], 1024))  # so that tiny files come in pieces
    await server.submit(_order(make_order))
    state = await server.ended("uid-1")
    assert state.phase == "succeeded", state.error
    assert {name for name, _ in store.ranges} >= {"transformer/diffusion_pytorch_model.safetensors"}
    assert state.loaded_percent == 100
    assert (state.step, state.total_steps, state.result.size, state.result.fps) == (2, 2, "64x32", 16)
    assert round(state.result.seconds * 16) == 9
    assert state.result.prompt.limit == 512
    record = json.loads(store.objects["out/uid-1/1/request.json"])
    assert (record["steps"], record["guidanceScale"], record["frames"]) == (2, 5.0, 9)

    local = Local(model_folder, tmp_path / "here", monkeypatch, capsys)
    flags = {"prompt": "a red ball", "negative_prompt": "grey", "seed": 3, "steps": 2, "seconds": 0.5, "size": "64x32"}
    code, event = await local(**flags)
    assert code == 0, event
    clip = await asyncio.to_thread(Path(event["path"]).read_bytes)
    assert clip == store.objects[f"out/uid-1/1/{layout.VIDEO}"]
    assert event["warnings"] == []


async def test_an_image_is_the_first_frame(server: Any, store: Any, make_order: Order, tmp_path: Path) -> None:
    Image.new("RGB", (80, 60), (200, 30, 30)).save(tmp_path / "red.png")
    data = (tmp_path / "red.png").read_bytes()
    store.objects["red.png"] = data
    given = {"name": "input", "url": store.url("red.png"), "bytes": len(data)}
    await server.submit(_order(make_order, task="image", inputs=[given]))
    state = await server.ended("uid-1")
    assert state.phase == "succeeded", state.error


REFUSED = [
    ({"task": "picture"}, "no clips for the task 'picture'. Use text or image"),
    ({"shots": [{"prompt": "b", "seconds": 1}]}, "clips of one shot"),
    ({"guidanceScale2": 3}, "guidanceScale2 does not apply"),
    ({"expandPrompt": True}, "expanded by a language model"),
    ({"fps": 8}, "16 frames per second. Leave fps out"),
    ({"size": "40x32"}, "width 40 does not fit this model"),
]


@pytest.mark.parametrize(("fields", "said"), REFUSED, ids=[next(iter(fields)) for fields, _ in REFUSED])
async def test_what_open_weights_do_not_make_is_refused(
    server: Any, make_order: Order, fields: dict[str, Any], said: str
) -> None:
    await server.submit(_order(make_order, **fields))
    state = await server.ended("uid-1")
    assert (state.phase, state.retriable) == ("failed", False)
    assert said in state.error


async def test_a_server_with_the_model_in_memory_refuses_at_once(server: Any, make_order: Order) -> None:
    await server.submit(_order(make_order))
    assert (await server.ended("uid-1")).phase == "succeeded"
    status, body = await server.submit(_order(make_order, uid="uid-2", fps=8))
    assert (status, "Leave fps out" in body["error"]) == (400, True)


def test_what_a_request_leaves_open_is_the_models(ti2v: ClipModel) -> None:
    assert (ti2v.defaults.steps, ti2v.defaults.guidance_scale) == (50, 5.0)
    request = _request(task="image")
    usual = ti2v.output_shape(request, Task.TEXT)
    assert (usual.frames, usual.size, usual.fps) == (81, "832x480", 16)
    like = ti2v.output_shape(request, Task.IMAGE, (1080, 1080))
    assert like.size == "640x640"


@pytest.mark.parametrize(
    ("fields", "scales"),
    [
        ({}, (4.0, 3.0)),
        ({"guidanceScale": 6}, (6.0, None)),
        ({"guidanceScale2": 2}, (4.0, 2.0)),
        ({"guidanceScale": 6, "guidanceScale2": 2}, (6.0, 2.0)),
    ],
    ids=["neither", "the first", "the second", "both"],
)
async def test_a_scale_that_is_given_holds_for_both_experts(
    ti2v: ClipModel, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], scales: tuple[float, float | None]
) -> None:
    monkeypatch.setattr(ti2v, "defaults", Defaults(40, 4.0, 3.0))
    monkeypatch.setattr(ti2v, "check", lambda _clip: None)
    resolved = await resolve(_request(**fields), ti2v, ExpansionSettings())
    assert (resolved.guidance_scale, resolved.guidance_scale_2) == scales


def test_two_experts_have_two_scales(written: dict[Kind, Path]) -> None:
    open_model(written["a14b"]).check(_request(guidanceScale2=3))


def test_a_clip_that_memory_can_never_hold_is_refused_before_it_begins(
    ti2v: ClipModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    need = ti2v._need  # type: ignore[attr-defined]
    monkeypatch.setattr(need, "total", (1 << 30) + (64 << 20))
    with pytest.raises(ShapeError, match=r"request [0-9]+ frames of"):
        need.require(ti2v.output_shape(_request(seconds=5), Task.TEXT))


def test_weights_that_memory_can_never_hold_are_refused_before_they_are_read(
    written: dict[Kind, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kinema_jobs.clip.open_weights.total_memory", lambda _device: 1 << 20)
    with pytest.raises(ModelTooLarge, match="use a device with"):
        open_model(written["ti2v"])


def _request(**fields: Any) -> ClipRequest:
    return ClipRequest.parse({"prompt": "a", **fields})


def test_a_folder_that_lies_is_refused(written: dict[Kind, Path], tmp_path: Path) -> None:
    shutil.copytree(written["ti2v"], tmp_path / "copy")
    (tmp_path / "copy" / "vae" / "config.json").unlink()
    with pytest.raises(ModelError, match=r"config\.json is missing"):
        open_model(tmp_path / "copy")


def test_a_size_that_the_weights_were_not_made_for_is_a_warning(
    ti2v: ClipModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = ti2v.output_shape(_request(size="64x32", seconds=20), Task.TEXT)
    assert ti2v.warnings(shape) == ()
    monkeypatch.setattr(OpenFolder, "published_as", "wan2.1-t2v-1.3b")
    sizes, frames = ti2v.warnings(shape)
    assert "64x32, but for 832x480" in sizes
    assert f"{shape.frames} frames, but for 81" in frames


def test_what_needs_a_trained_model_refuses_open_weights(written: dict[Kind, Path]) -> None:
    with pytest.raises(ModelError, match="holds open weights"):
        open_pipeline(written["ti2v"])


def test_what_is_usual_is_known_of_published_networks() -> None:
    for name, config in PUBLISHED.items():
        experts = 2 if "a14b" in name else 1
        assert published_name(config, experts) == name
        found = usual(config, experts)
        assert found != UNKNOWN or name == "wan2.1-t2v-1.3b"
        assert (found.guidance_2 is not None) == (experts == 2)
        assert all(shape.frames % 4 == 1 and not shape.height % 16 and not shape.width % 16 for shape in found.shapes)
