"""A server against its contract: a real model, real renderings, real HTTP on both sides."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import logging
from collections.abc import Callable
from typing import Any

import aiohttp
import av
import numpy as np
import pytest
from aiohttp.test_utils import TestClient, TestServer

from kinema_api.wire import MAX_ORDER_BYTES
from kinema_jobs.serve.app import make_metrics_app

pytestmark = pytest.mark.slow


Order = Callable[..., dict[str, Any]]
MANY_STEPS = 200


async def test_an_order_becomes_a_clip_behind_the_presigned_addresses(
    server: Any, store: Any, make_order: Order
) -> None:
    status, body = await server.submit(make_order())
    assert (status, body["phase"], body["totalSteps"]) == (202, "loading", 2)

    state = await server.ended("uid-1")

    assert state.phase == "succeeded", state.error
    assert state.step == 2
    assert (state.result.size, state.result.fps, state.result.seconds) == ("24x24", 8.0, 1.0)
    assert {f.name for f in state.result.files} == {"video.mp4", "thumbnail.webp", "spritesheet.webp", "request.json"}
    for file in state.result.files:
        data = store.objects[f"out/uid-1/1/{file.name}"]
        assert (hashlib.sha256(data).hexdigest(), len(data)) == (file.sha256, file.bytes)
    with av.open(io.BytesIO(store.objects["out/uid-1/1/video.mp4"])) as clip:
        assert sum(1 for _ in clip.decode(video=0)) == 8
    record = json.loads(store.objects["out/uid-1/1/request.json"])
    assert record["prompt"] == "a red square moves right"
    assert (record["seed"], record["attempt"], record["versions"]["av"]) == (7, 1, av.__version__)


async def test_the_same_order_gives_the_same_bytes_and_loads_once(server: Any, store: Any, make_order: Order) -> None:
    await server.submit(make_order())
    first = await server.ended("uid-1")
    await server.submit(make_order(attempt=2))
    second = await server.ended("uid-1")

    assert (first.attempt, second.attempt) == (1, 2)
    assert first.result.load_seconds > 0
    assert second.result.load_seconds == 0
    assert store.objects["out/uid-1/1/video.mp4"] == store.objects["out/uid-1/2/video.mp4"]
    assert store.requests["GET diffusion_pytorch_model.safetensors"] == 1
    _, body = await server.ask("GET", "/v1/server")
    assert body["digest"].startswith("sha256:")
    assert "order" not in body


async def test_an_order_sent_again_answers_its_state_and_renders_once(
    server: Any, store: Any, make_order: Order
) -> None:
    store.hold.clear()
    await server.submit(make_order())
    status, again = await server.submit(make_order())
    assert (status, again["attempt"]) == (202, 1)
    store.hold.set()
    await server.ended("uid-1")
    status, after = await server.submit(make_order())
    assert (status, after["phase"]) == (202, "succeeded")
    assert store.requests["PUT out/uid-1/1/video.mp4"] == 1


async def test_a_busy_server_turns_others_away_and_stays_healthy(server: Any, store: Any, make_order: Order) -> None:
    store.hold.clear()
    await server.submit(make_order(steps=MANY_STEPS))
    await server.until("uid-1", lambda s: s.phase == "denoising" and s.step > 0)

    status, body = await server.submit(make_order(uid="uid-2"))
    assert status == 429
    assert "another server" in body["error"]
    assert await server.ask("GET", "/healthz") == (200, {"status": "ok"})
    _, body = await server.ask("GET", "/v1/server")
    assert body["order"] == "uid-1"

    store.hold.set()
    await server.ask("DELETE", "/v1/orders/uid-1")
    assert (await server.ended("uid-1")).phase == "cancelled"
    status, _ = await server.submit(make_order(uid="uid-2"))
    assert status == 202


async def test_an_older_attempt_is_refused_and_a_newer_one_takes_over(
    server: Any, store: Any, make_order: Order
) -> None:
    await server.submit(make_order(attempt=2, steps=MANY_STEPS))
    await server.until("uid-1", lambda s: s.step > 0)
    status, body = await server.submit(make_order(attempt=1))
    assert status == 409
    assert "newer attempt" in body["error"]

    status, body = await server.submit(make_order(attempt=3))
    assert (status, body["attempt"]) == (202, 3)
    state = await server.ended("uid-1")
    assert (state.attempt, state.phase) == (3, "succeeded")
    assert not any(name.startswith("out/uid-1/2/") for name in store.objects)


async def test_cancelling_stops_between_steps(server: Any, store: Any, make_order: Order) -> None:
    await server.submit(make_order(steps=MANY_STEPS))
    await server.until("uid-1", lambda s: s.step > 0)
    status, _ = await server.ask("DELETE", "/v1/orders/uid-1")
    assert status == 202
    state = await server.ended("uid-1")
    assert state.phase == "cancelled"
    assert 0 < state.step < MANY_STEPS
    assert "another attempt" in state.error
    assert not any(name.startswith("out/") for name in store.objects)


async def test_cancelling_breaks_off_an_upload(server: Any, store: Any, make_order: Order) -> None:
    store.hold.clear()
    await server.submit(make_order())
    await store.puts.wait()
    await server.ask("DELETE", "/v1/orders/uid-1")
    assert (await server.ended("uid-1")).phase == "cancelled"


async def test_unknown_orders_are_404(server: Any) -> None:
    for method in ("GET", "DELETE"):
        status, body = await server.ask(method, "/v1/orders/nobody")
        assert status == 404
        assert "another attempt" in body["error"]


@pytest.mark.parametrize(
    ("fields", "remedy"),
    [
        ({"prompt": " "}, "describe the clip, such as: a red square"),
        ({"prompt": "x" * 4097}, "at most 4096 characters; correct this field"),
        ({"negativePrompt": "x" * 4097}, "at most 4096 characters; correct this field"),
        ({"size": "25x24"}, "even width and height"),
        ({"size": "8x8"}, "at least 16x16"),
        ({"size": "24"}, "write it like 24x24"),
        ({"size": "9" * 5000 + "x24"}, "size: String should have at most 9 characters"),
        ({"seconds": 0}, "greater than 0"),
        ({"seconds": 1e9}, "less than or equal to 60"),
        ({"steps": 0}, "greater than or equal to 1"),
        ({"steps": 201}, "less than or equal to 200"),
        ({"fps": 61}, "less than or equal to 60"),
        ({"seed": -1}, "greater than or equal to 0"),
        ({"seed": None}, "the order has no seed"),
        ({"seconds": 40, "shots": [{"prompt": "a blue circle", "seconds": 30}]}, "longer than 60 seconds"),
        ({"guidanceScale": 0.5}, "greater than or equal to 1"),
        ({"guidanceScale": 31}, "less than or equal to 30"),
        ({"uploads": []}, "must name video.mp4"),
        ({"steps": "many"}, "correct this field"),
    ],
)
async def test_what_can_never_be_served_is_a_400_with_a_sentence(
    server: Any, make_order: Order, fields: dict[str, Any], remedy: str
) -> None:
    status, body = await server.submit(make_order(**fields))
    assert status == 400
    assert remedy in body["error"]
    assert len(body["error"]) < 300


@pytest.mark.parametrize(
    ("fields", "remedy"),
    [
        ({"size": "26x24"}, "multiples of 8"),
        ({"size": "24x1200"}, "up to 256 pixels"),
        ({"seconds": 30}, "at most 8"),
    ],
)
async def test_what_this_model_cannot_render_fails_for_good_and_later_at_once(
    server: Any, make_order: Order, fields: dict[str, Any], remedy: str
) -> None:
    status, _ = await server.submit(make_order(**fields))
    assert status == 202
    state = await server.ended("uid-1")
    assert (state.phase, state.retriable) == ("failed", False)
    assert remedy in state.error

    status, body = await server.submit(make_order(uid="uid-2", **fields))
    assert status == 400
    assert remedy in body["error"]


async def test_a_body_that_is_no_order_or_too_large_is_refused(server: Any, make_order: Order) -> None:
    status, body = await server.ask("POST", "/v1/orders", b"{")
    assert (status, "not JSON" in body["error"]) == (400, True)
    status, body = await server.ask("POST", "/v1/orders", b"[" * 100_000)
    assert status == 400
    status, body = await server.submit(make_order(prompt="x" * MAX_ORDER_BYTES))
    assert (status, "shorten the prompt" in body["error"]) == (400, True)
    status, body = await server.ask("GET", "/elsewhere")
    assert (status, "error" in body) == (404, True)


async def test_a_prompt_is_never_logged(server: Any, make_order: Order, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    prompt = "{order} %s ${HOME} `id` a hostile \x1b[2J\nred square"
    await server.submit(make_order(prompt=prompt))
    assert (await server.ended("uid-1")).phase == "succeeded"
    assert f"{len(prompt)} characters" in caplog.text
    assert "hostile" not in caplog.text


async def test_metrics_count_orders_and_steps(server: Any, make_order: Order) -> None:
    before = await _metrics(server)
    await server.submit(make_order())
    await server.ended("uid-1")
    after = await _metrics(server)
    for name, grown in {
        'kinema_serving_generations_total{result="succeeded"}': 1,
        "kinema_serving_denoising_step_seconds_count": 2,
        "kinema_serving_model_load_seconds_count": 1,
        "kinema_serving_encode_seconds_count": 1,
    }.items():
        assert after[name] - before[name] == grown, name
    assert after["kinema_serving_busy"] == 0


async def _metrics(server: Any) -> dict[str, float]:
    async with server.session.get(server.base + "/metrics") as response:
        assert response.status == 404, "whoever may read metrics must not need the port that takes orders"
    async with TestClient(TestServer(make_metrics_app())) as monitoring, monitoring.get("/metrics") as response:
        lines = (await response.text()).splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}


async def test_the_clip_is_the_one_that_the_pipeline_draws(
    server: Any, store: Any, make_order: Order, model_folder: Any
) -> None:
    from kinema_model.pipeline import Pipeline

    await server.submit(make_order())
    await server.ended("uid-1")
    expected = Pipeline(model_folder).generate("a red square moves right", 7, steps=2, guidance_scale=2)
    with av.open(io.BytesIO(store.objects["out/uid-1/1/video.mp4"])) as clip:
        frames = np.stack([f.to_ndarray(format="rgb24") for f in clip.decode(video=0)])
    # Noise is the hardest to keep: half of the colour resolution goes. The brightness of frames must stay.
    assert np.abs(frames.mean(axis=(2, 3)).astype(int) - expected.mean(axis=(2, 3)).astype(int)).max() < 12
    assert frames.shape == expected.shape


async def test_clients_that_go_away_do_not_stop_an_order(server: Any, make_order: Order) -> None:
    async with aiohttp.ClientSession() as other:
        await other.post(server.base + "/v1/orders", json=make_order(steps=50))
    await asyncio.sleep(0)
    assert (await server.ended("uid-1")).phase == "succeeded"
