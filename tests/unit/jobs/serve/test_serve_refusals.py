"""Bad orders, broken inputs and too little memory: a server says so in one sentence, and uploads nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from kinema_jobs.clip import rendering
from kinema_model.artefact import save_model
from kinema_model.conditions.tasks import TRAINED_BY, Task
from kinema_model.config import ModelConfig
from kinema_model.denoiser import VideoDenoiser
from unit.jobs.serve.conftest import PROMPT, Order, write_manifest

pytestmark = pytest.mark.slow


PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    """A small, untrained, real model of every task."""
    tasks = tuple(task for task in Task if task not in TRAINED_BY)
    config = ModelConfig.from_preset("tiny", width=24, depth=1, heads=2, tasks=tasks)
    torch.manual_seed(0)
    folder = tmp_path / "published"
    save_model(folder, dict(VideoDenoiser(config).named_parameters()), config, "# A model for tests")
    write_manifest(folder)
    return folder


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"prompt": "a red \ud800 square"}, "prompt"),
        ({"negativePrompt": "\udc00"}, "negativePrompt: "),
        ({"shots": [{"prompt": "\ud800", "seconds": 1}]}, "shots.0.prompt"),
        ({"prompt": "\u200b\u2060"}, "the prompt is blank: describe the clip"),
        ({"prompt": "\u4e00" * 50_000}, "prompt: String should have at most 4096 characters"),
        ({"size": "33x47"}, "33x47"),
        ({"seconds": 1250}, "seconds: Input should be less than or equal to 60"),
        ({"task": "paint"}, "task"),
    ],
)
async def test_an_order_that_can_never_be_served_is_a_400(
    server: Any, make_order: Order, fields: dict[str, Any], words: str
) -> None:
    # As bytes, since a client of good manners would not write half of a surrogate pair.
    status, body = await server.ask("POST", "/v1/orders", json.dumps(make_order(**fields)).encode())
    assert status == 400
    assert words in body["error"]
    assert "\n" not in body["error"]
    assert len(body["error"]) < 300


def given(store: Any, name: str, content: bytes) -> dict[str, Any]:
    store.objects[f"given/{name}"] = content
    return {"name": name, "url": store.url(f"given/{name}"), "bytes": len(content)}


@pytest.mark.parametrize(
    ("task", "files", "words"),
    [
        ("extend", {"input": b""}, "The input cannot be read"),
        ("extend", {"input": b"not a film"}, "The input cannot be read"),
        ("image", {"input": PNG}, "The input cannot be read"),
        ("inpaint", {"input": b"....ftypisom", "mask": PNG}, "cannot be read"),
        ("extend", {}, "'extend' needs a clip or an image. Set input."),
        ("text", {"input": PNG + b"x"}, "The input cannot be read"),
    ],
)
async def test_inputs_that_cannot_be_used_fail_for_good(
    server: Any, store: Any, make_order: Order, task: str, files: dict[str, bytes], words: str
) -> None:
    await server.submit(make_order(task=task, inputs=[given(store, name, data) for name, data in files.items()]))
    state = await server.ended("uid-1")
    assert (state.phase, state.retriable) == ("failed", False)
    assert words in state.error
    assert not any(name.startswith("out/") for name in store.objects)


@pytest.fixture
def leave(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Leaves so much memory, of which nothing is used."""

    def only(free: int) -> None:
        for what in ("free_memory", "total_memory"):
            monkeypatch.setattr(rendering, what, lambda device: free, raising=False)

    return only


async def test_a_model_larger_than_memory_fails_for_good_and_serves_once_there_is_room(
    server: Any, store: Any, make_order: Order, leave: Callable[[int], None]
) -> None:
    leave(1000)
    await server.submit(make_order())
    state = await server.ended("uid-1")
    assert (state.phase, state.retriable) == ("failed", False)
    assert "the weights take" in state.error
    assert "spec.serving.resources" in state.error
    leave(1 << 40)
    await server.submit(make_order(uid="uid-2"))
    assert (await server.ended("uid-2")).phase == "succeeded"


async def test_a_clip_larger_than_memory_fails_for_good_and_a_smaller_one_is_served(
    server: Any, store: Any, make_order: Order, leave: Callable[[int], None]
) -> None:
    leave(1 << 20)
    await server.submit(make_order(size="256x256", seconds=8))
    state = await server.ended("uid-1")
    assert (state.phase, state.retriable) == ("failed", False)
    assert "A clip of 256x256 with 64 frames needs at least" in state.error
    assert not any(name.startswith("out/") for name in store.objects)
    await server.submit(make_order(uid="uid-2"))
    assert (await server.ended("uid-2")).phase == "succeeded"


POISON = "CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be asynchronously reported"


@pytest.mark.parametrize(
    "said",
    [
        POISON,
        "CUDA error: device-side assert triggered",
        "CUDA error: unspecified launch failure",
        "CUDA error: uncorrectable ECC error encountered",
        "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`",
        "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED",
        "HIP error: unspecified launch failure",
    ],
)
async def test_a_server_whose_device_has_failed_takes_no_more_orders(
    server: Any, make_order: Order, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    monkeypatch.setattr("kinema_model.pipeline.Pipeline.generate", _raising(RuntimeError(said)))
    await server.submit(make_order())
    state = await server.ended("uid-1")
    assert (state.phase, state.retriable) == ("failed", True)
    assert (await server.ask("GET", "/healthz"))[0] == 503
    status, body = await server.submit(make_order(uid="uid-2"))
    assert status == 503, body


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
    ],
)
async def test_a_moment_without_memory_is_tried_again_and_the_server_goes_on(
    server: Any, make_order: Order, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("kinema_model.pipeline.Pipeline.generate", _raising(error))
        await server.submit(make_order())
        state = await server.ended("uid-1")
    assert (state.phase, state.retriable) == ("failed", True), state.error
    await server.submit(make_order(uid="uid-2"))
    assert (await server.ended("uid-2")).phase == "succeeded"


async def test_memory_that_others_hold_for_a_moment_is_tried_again(
    server: Any, make_order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rendering, "free_memory", lambda device: 1000)
    await server.submit(make_order())
    state = await server.ended("uid-1")
    assert (state.phase, state.retriable) == ("failed", True), state.error


async def test_a_fault_of_one_order_leaves_the_device_to_the_next(
    server: Any, make_order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("kinema_model.pipeline.Pipeline.generate", _raising(RuntimeError("CUDA error: invalid argument")))
        await server.submit(make_order())
        assert (await server.ended("uid-1")).phase == "failed"
    await server.submit(make_order(uid="uid-2"))
    assert (await server.ended("uid-2")).phase == "succeeded"


async def test_logs_tell_equal_prompts_and_give_no_means_to_try_guesses(
    server: Any, make_order: Order, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        for uid in ("uid-1", "uid-2"):
            await server.submit(make_order(uid=uid, steps=1))
            await server.ended(uid)
    taken = [r.getMessage().split("taken, ")[1] for r in caplog.records if "taken, " in r.getMessage()]
    assert len(taken) == 2
    assert taken[0] == taken[1]
    assert hashlib.sha256(PROMPT.encode()).hexdigest()[:8] not in taken[0]


def _raising(error: Exception) -> Any:
    def fail(*_given: Any, **_fields: Any) -> Any:
        raise error

    return fail
