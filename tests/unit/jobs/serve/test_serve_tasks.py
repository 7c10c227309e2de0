"""A server carries out every task that its model was trained for, on what it fetches, and refuses the others."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from kinema_jobs.clip.media import write_mp4
from kinema_model.artefact import save_model
from kinema_model.conditions.tasks import TRAINED_BY, Task
from kinema_model.config import ModelConfig
from kinema_model.denoiser import VideoDenoiser
from kinema_model.pipeline import Pipeline
from kinema_world import World
from unit.jobs.serve.conftest import PROMPT, Order, write_manifest

pytestmark = pytest.mark.slow


TRAINED = tuple(task for task in Task if task not in TRAINED_BY and task is not Task.INPAINT)


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    """A small, untrained, real model of most tasks."""
    config = ModelConfig.from_preset("tiny", width=24, depth=1, heads=2, tasks=TRAINED)
    torch.manual_seed(0)
    folder = tmp_path / "published"
    save_model(folder, dict(VideoDenoiser(config).named_parameters()), config, "# A model for tests")
    write_manifest(folder)
    return folder


@pytest.fixture
def upload(store: Any, tmp_path: Path) -> dict[str, Any]:
    """A clip in the store, as an order names it."""
    path = tmp_path / "clip.mp4"
    write_mp4(World.fixed(3, 8, 24, 24, 8).sample(1).video, 8, path)
    data = store.objects["clip.mp4"] = path.read_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    return {"name": "input", "url": store.url("clip.mp4"), "bytes": len(data), "sha256": sha256}


def endless(path: Path) -> bytes:
    """20,000 frames of 512 x 512: ten frames' packets over and over."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = 512, 512, "yuv420p"
        stream.codec_context.gop_size, stream.codec_context.max_b_frames = 10, 0
        noise = np.random.default_rng(0).integers(0, 255, (10, 512, 512, 3), np.uint8)
        frames = [av.VideoFrame.from_ndarray(pixels, format="rgb24") for pixels in noise // 16]
        packets = [packet for frame in [*frames, None] for packet in stream.encode(frame)]
        for number in range(20_000):
            copy = av.Packet(bytes(packets[number % 10]))
            copy.stream, copy.time_base, copy.is_keyframe = stream, Fraction(1, 24), number % 10 == 0
            copy.pts = copy.dts = number
            container.mux(copy)
    return path.read_bytes()


def decoded(data: bytes) -> np.ndarray[Any, Any]:
    with av.open(io.BytesIO(data)) as clip:
        return np.stack([f.to_ndarray(format="rgb24") for f in clip.decode(video=0)])


@pytest.mark.parametrize("task", ["image", "extend", "extend-back", "fill", "loop", "edit", "blend"])
async def test_a_task_is_carried_out_and_recorded(
    server: Any, store: Any, make_order: Order, upload: dict[str, Any], task: str
) -> None:
    ends = [{**upload, "name": "end"}] if task in ("fill", "blend") else []
    await server.submit(make_order(task=task, inputs=[upload, *ends]))
    state = await server.ended("uid-1")
    assert state.phase == "succeeded", state.error
    record = json.loads(store.objects["out/uid-1/1/request.json"])
    assert record["task"] == task
    assert record["inputs"]["input"] == upload["sha256"]
    assert state.result is not None
    assert [seam.frame for seam in state.result.seams] == [seam["frame"] for seam in record["seams"]]
    assert bool(state.result.seams) == (task != "edit")
    clip, given = decoded(store.objects["out/uid-1/1/video.mp4"]), decoded(store.objects["clip.mp4"])
    assert clip.shape == (8, 24, 24, 3)
    shown = {"image": (0, 0), "extend": (3, 7), "extend-back": (4, 0), "fill": (0, 7), "loop": (0, 0), "blend": (0, 0)}
    if task in shown:
        mine, theirs = shown[task]
        assert np.abs(clip[mine].astype(int) - given[theirs].astype(int)).mean() < 8


@pytest.mark.parametrize(
    ("fields", "change", "sentence"),
    [
        ({"task": "inpaint"}, {}, "not trained for 'inpaint'. Use one of: text, picture, image"),
        ({"task": "extend", "size": "16x16"}, {}, "The input is 24x24 and the clip 16x16"),
        ({"task": "extend"}, {"sha256": "0" * 64}, "the input has changed since it was rendered: use another clip"),
        ({"task": "extend"}, {"bytes": 10}, "longer than the 10 bytes promised: upload it again, then ask again"),
        ({"task": "fill"}, {}, "Give the second one too"),
    ],
)
async def test_what_cannot_be_done_fails_for_good_with_a_sentence(
    server: Any,
    make_order: Order,
    upload: dict[str, Any],
    fields: dict[str, Any],
    change: dict[str, Any],
    sentence: str,
) -> None:
    await server.submit(make_order(inputs=[{**upload, **change}], **fields))
    state = await server.ended("uid-1")
    assert (state.phase, state.retriable) == ("failed", False)
    assert state.error is not None
    assert sentence in state.error


async def test_a_prompt_said_at_length_is_told_and_recorded(
    server: Any, store: Any, make_order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str] = []
    generate = Pipeline.generate

    def hear(pipeline: Pipeline, prompt: str, **how: Any) -> Any:
        heard.append(prompt)
        return generate(pipeline, prompt, **how)

    monkeypatch.setattr(Pipeline, "generate", hear)
    for uid, expand in (("uid-1", True), ("uid-2", False)):
        await server.submit(make_order(uid=uid, expandPrompt=expand))
        assert (await server.ended(uid)).phase == "succeeded"
    at_length, plain = (json.loads(store.objects[f"out/{uid}/1/request.json"]) for uid in ("uid-1", "uid-2"))
    assert heard == [at_length["expandedPrompt"], PROMPT]
    assert (at_length["prompt"], plain["expandedPrompt"]) == (PROMPT, None)
    state = await server.ended("uid-1")
    assert state.result is not None
    assert state.result.expanded_prompt == heard[0]
    assert len(heard[0]) > len(PROMPT)


def streaming_model(folder: Path) -> None:
    """The same in a model that was trained to stream."""
    streaming = {"chunk_frames": 4, "window_chunks": 2}
    config = ModelConfig.from_preset("tiny", width=24, depth=1, heads=2, places="space", streaming=streaming)
    save_model(folder, dict(VideoDenoiser(config).named_parameters()), config, "# A model for tests")
    write_manifest(folder)


class TestLongClips:
    """Clips longer than the network sees at once, and of several shots."""

    @pytest.fixture
    def model_folder(self, tmp_path: Path) -> Path:
        folder = tmp_path / "published"
        streaming_model(folder)
        return folder

    async def test_shots_follow_one_another_and_are_recorded(self, server: Any, store: Any, make_order: Order) -> None:
        shots = [{"prompt": "a blue circle moves left", "seconds": 0.5}]
        await server.submit(make_order(seconds=0.75, shots=shots, steps=1, guidanceScale=1))
        state = await server.ended("uid-1")
        assert state.phase == "succeeded", state.error
        # A chunk ends where a shot does: 4 and 2 frames, then 4.
        assert (state.step, state.total_steps) == (3, 3)
        assert state.result is not None
        assert state.result.seconds == 1.25
        assert len(decoded(store.objects["out/uid-1/1/video.mp4"])) == 10
        assert json.loads(store.objects["out/uid-1/1/request.json"])["shots"] == shots

    async def test_a_clip_longer_than_the_network_sees(self, server: Any, make_order: Order) -> None:
        await server.submit(make_order(seconds=9, steps=1, guidanceScale=1))
        state = await server.ended("uid-1")
        assert state.phase == "succeeded", state.error
        assert state.result is not None
        assert state.result.seconds == 9


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"shots": [{"prompt": "a blue circle", "seconds": 1}]}, "was not trained for streaming"),
        ({"seconds": 30}, "This model cannot render 30 seconds: request at most 8"),
    ],
)
async def test_a_model_that_does_not_stream_refuses_long_clips(
    server: Any, make_order: Order, fields: dict[str, Any], sentence: str
) -> None:
    await server.submit(make_order(**fields))
    state = await server.ended("uid-1")
    assert (state.phase, state.retriable) == ("failed", False)
    assert state.error is not None
    assert sentence in state.error


async def test_a_strength_out_of_range_is_refused_at_once(server: Any, make_order: Order) -> None:
    status, body = await server.submit(make_order(task="edit", strength=1.5))
    assert status == 400
    assert "strength: Input should be less than or equal to 1" in body["error"]


class TestLargeInputs:
    """Of a model whose clips may be as large as the input."""

    @pytest.fixture
    def model_folder(self, tmp_path: Path) -> Path:
        config = ModelConfig.from_preset("tiny", width=24, depth=1, heads=2, tasks=TRAINED, max_side=512)
        folder = tmp_path / "published"
        save_model(folder, dict(VideoDenoiser(config).named_parameters()), config, "# A model for tests")
        write_manifest(folder)
        return folder

    async def test_an_order_is_cancelled_while_its_input_is_decoded(
        self, server: Any, store: Any, make_order: Order, tmp_path: Path
    ) -> None:
        data = store.objects["long.mp4"] = await asyncio.to_thread(endless, tmp_path / "long.mp4")
        given = {"name": "input", "url": store.url("long.mp4"), "bytes": len(data)}
        await server.submit(make_order(task="extend", inputs=[given]))
        await server.until("uid-1", lambda s: s.phase == "denoising")
        await server.ask("DELETE", "/v1/orders/uid-1")
        ended = asyncio.ensure_future(server.ended("uid-1"))
        await asyncio.wait([ended], timeout=10)
        assert ended.done(), "the order is still decoded 10 s after it was cancelled"
        assert ended.result().phase == "cancelled"
