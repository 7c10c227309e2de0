"""Captions by an endpoint that may be slow, away, throttled or talk nonsense: a caption or a counted reason."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from hypothesis import given, settings
from hypothesis import strategies as st

from examples import examples
from kinema_dataset.sidecars import CaptionText
from kinema_jobs.errors import ApiKeyUnusable, CaptionerUnusable
from kinema_jobs.prepare import captioner as module
from kinema_jobs.prepare.caption_answer import MAX_SHORT, NotCaptioned, Refusal, answer_of
from kinema_jobs.prepare.captioner import PROMPT, Captioner, CaptionerSettings, Why

KEY = "sk-very-secret"
SAID = {"short": "a fox runs", "rich": "A red fox runs over a field.\nThe camera follows."}
FRAMES = [bytes([255, 216, number]) for number in range(12)]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def completion(content: Any, **choice: Any) -> dict[str, Any]:
    usage = {"prompt_tokens": 900, "completion_tokens": 50, "total_tokens": 950}
    return {"choices": [{"message": {"role": "assistant", "content": content}, **choice}], "usage": usage}


def saying(content: Any) -> Handler:
    async def answer(_: web.Request) -> web.Response:
        return web.json_response(completion(content))

    return answer


class Endpoint:
    """Answers with one handler after the other, the last one again and again; keeps what it was asked."""

    def __init__(self, *handlers: Handler) -> None:
        self._handlers = list(handlers)
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str | None] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(await request.json())
        self.keys.append(request.headers.get("Authorization"))
        return await (self._handlers.pop(0) if len(self._handlers) > 1 else self._handlers[0])(request)


class Pauses:
    """Notes pauses instead of making them."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


Start = Callable[..., Awaitable[tuple[Captioner, Endpoint, Pauses]]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Starts an endpoint on loopback, and gives a captioner for it."""
    servers: list[TestServer] = []
    opened: list[Captioner] = []
    key = tmp_path / "key"
    key.write_text(f"{KEY}\n")

    async def begin(*handlers: Handler, **options: Any) -> tuple[Captioner, Endpoint, Pauses]:
        endpoint, pauses = Endpoint(*handlers), Pauses()
        app = web.Application(client_max_size=1 << 26)
        app.router.add_post("/v1/chat/completions", endpoint.answer)
        server = TestServer(app, host="127.0.0.1")
        await server.start_server(shutdown_timeout=0)
        servers.append(server)
        url = str(server.make_url("/v1"))
        asked = CaptionerSettings(url=url, model="seer", **{"key_file": key, "tries": 3, **options})
        captioner = await Captioner(asked, pauses).__aenter__()
        opened.append(captioner)
        return captioner, endpoint, pauses

    yield begin
    for captioner in opened:
        await captioner.__aexit__(None, None, None)
    for server in servers:
        await server.close()


def status(code: int, **headers: str) -> Handler:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=code, text="you sent sk-very-secret", headers=headers)

    return answer


async def dropped(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    try:
        while True:
            await response.write(b"x" * 65536)
    except ConnectionError:
        return response


async def silent(_: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError("never set")


async def test_a_short_and_a_rich_caption_come_back(start: Start) -> None:
    captioner, endpoint, _ = await start(saying(json.dumps(SAID)), max_frames=4, prompt_price=2, answer_price=10)
    said = await captioner.caption(FRAMES, "v/a.mp4")
    assert said == CaptionText("a fox runs", "A red fox runs over a field. The camera follows.")
    (body,) = endpoint.asked
    text, *images = body["messages"][0]["content"]
    assert text == {"type": "text", "text": PROMPT}
    urls = [image["image_url"]["url"] for image in images]
    frames = [base64.b64decode(url.removeprefix("data:image/jpeg;base64,")) for url in urls]
    assert frames == [FRAMES[1], FRAMES[4], FRAMES[7], FRAMES[10]]
    assert body["model"] == "seer"
    assert body["response_format"] == {"type": "json_object"}
    assert endpoint.keys == [f"Bearer {KEY}"]
    report = captioner.report()
    assert report["prompt"] == PROMPT
    assert (report["promptTokens"], report["answerTokens"], report["captioned"]) == (900, 50, 1)
    assert report["cost"] == pytest.approx((900 * 2 + 50 * 10) / 1e6)
    assert KEY not in json.dumps(report)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [(status(503), Why.FAILED), (status(429), Why.THROTTLED), (dropped, Why.AWAY), (saying("hm"), Refusal.NOT_JSON)],
)
async def test_what_may_pass_is_tried_again(start: Start, bad: Handler, reason: str) -> None:
    captioner, endpoint, pauses = await start(bad, bad, saying(json.dumps(SAID)))
    assert (await captioner.caption(FRAMES, "a")).short == "a fox runs"
    assert captioner.tally.tried_again == {reason: 2}
    assert not captioner.tally.refused
    first, second = pauses.seconds
    assert 0.5 <= first <= 1 <= second <= 2
    assert [body["seed"] for body in endpoint.asked] == [0, 1, 2]


async def test_a_rate_limit_says_how_long_to_wait(start: Start) -> None:
    handlers = [status(429, **{"Retry-After": told}) for told in ("17", "999999", "Fri, 31 Dec 1999 23:59:59 GMT")]
    captioner, _, pauses = await start(*handlers, saying(json.dumps(SAID)), tries=4)
    await captioner.caption(FRAMES, "a")
    assert pauses.seconds[:2] == [17, module.LONGEST_PAUSE]
    assert pauses.seconds[2] <= 4


@pytest.mark.parametrize(
    ("bad", "reason", "requests"),
    [
        (status(500), Why.FAILED, 3),
        (status(429), Why.THROTTLED, 3),
        (status(400), Why.REFUSED, 1),
        (status(413), Why.REFUSED, 1),
        (dropped, Why.AWAY, 3),
        (endless, Why.TOO_LONG, 3),
        (saying("a fox"), Refusal.NOT_JSON, 3),
    ],
)
async def test_a_clip_without_a_caption_has_a_counted_reason(
    start: Start, bad: Handler, reason: str, requests: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    captioner, endpoint, _ = await start(bad)
    with pytest.raises(NotCaptioned, match=r"v/a\.mp4: ") as refused:
        await captioner.caption(FRAMES, "v/a.mp4")
    assert refused.value.reason == reason
    assert captioner.tally.refused == {reason: 1}
    assert len(endpoint.asked) == captioner.tally.requests == requests
    assert KEY not in str(refused.value) + caplog.text
    assert "a fox" not in str(refused.value)


async def test_silence_ends(start: Start) -> None:
    captioner, _, _ = await start(silent, timeout_seconds=0.05, tries=1)
    with pytest.raises(NotCaptioned, match="no answer within"):
        await captioner.caption(FRAMES, "a")
    assert captioner.tally.refused == {Why.SLOW: 1}


@pytest.mark.parametrize("code", [401, 403, 404, 302])
async def test_what_every_clip_would_see_ends_the_job(start: Start, code: int) -> None:
    captioner, endpoint, _ = await start(status(code, Location="http://127.0.0.1:9/"))
    with pytest.raises(CaptionerUnusable, match=f"responds {code}.*check") as unusable:
        await captioner.caption(FRAMES, "a")
    assert KEY not in str(unusable.value)
    assert len(endpoint.asked) == 1


async def test_an_endpoint_that_stays_away_ends_the_job(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GIVE_UP_AFTER", 2)
    captioner, endpoint, _ = await start(status(503), tries=2)
    with pytest.raises(NotCaptioned):
        await captioner.caption(FRAMES, "a")
    with pytest.raises(CaptionerUnusable, match="not answered 4 requests in a row"):
        await captioner.caption(FRAMES, "b")
    assert len(endpoint.asked) == 4


async def test_no_more_requests_than_allowed_are_under_way(start: Start) -> None:
    under_way, most = 0, 0

    async def watched(request: web.Request) -> web.StreamResponse:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1
        return await saying(json.dumps(SAID))(request)

    captioner, _, _ = await start(watched, concurrency=2)
    await asyncio.gather(*(captioner.caption(FRAMES, str(number)) for number in range(12)))
    assert most <= 2
    assert captioner.tally.captioned == 12


@pytest.mark.parametrize("key", ["", "two words", "\x00"])
async def test_a_key_file_without_a_key_is_named(start: Start, tmp_path: Path, key: str) -> None:
    file = tmp_path / "bad-key"
    file.write_text(key)
    captioner, endpoint, _ = await start(saying(json.dumps(SAID)), key_file=file)
    with pytest.raises(ApiKeyUnusable, match="bad-key"):
        await captioner.caption(FRAMES, "a")
    assert not endpoint.asked


@pytest.mark.parametrize("frames", [[], [bytes(module.MAX_FRAME_BYTES + 1)]])
async def test_frames_that_cannot_be_sent_are_refused(start: Start, frames: list[bytes]) -> None:
    captioner, endpoint, _ = await start(saying(json.dumps(SAID)))
    with pytest.raises(NotCaptioned, match="a: no frame"):
        await captioner.caption(frames, "a")
    assert not endpoint.asked


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", Refusal.NOT_JSON),
        ("a fox runs", Refusal.NOT_JSON),
        ("I’m sorry, I can't help with that.", Refusal.DECLINED),
        ('{"short": "a fox"}', Refusal.NO_CAPTIONS),
        ('{"short": "a fox", "rich": 7}', Refusal.NO_CAPTIONS),
        ('["a fox", "A red fox."]', Refusal.NO_CAPTIONS),
        ('{"short": " ", "rich": "A red fox."}', Refusal.BLANK),
        (json.dumps({"short": "f" * (MAX_SHORT + 1), "rich": "A red fox."}), Refusal.TOO_LONG),
        (json.dumps({"short": "a fox", "rich": "fox " * 200}), Refusal.REPEATS),
        ('{"short": "I cannot see a video", "rich": "As an AI I cannot see."}', Refusal.DECLINED),
        ("[" * 100_000, Refusal.NOT_JSON),
    ],
)
def test_nonsense_has_a_reason(content: str, reason: Refusal) -> None:
    refused, usage = answer_of(json.dumps(completion(content)).encode())
    assert isinstance(refused, NotCaptioned)
    assert refused.reason is reason
    assert usage.prompt_tokens == 900, "an answer costs, of use or not"


@pytest.mark.parametrize(
    "content",
    [
        json.dumps(SAID),
        f"```json\n{json.dumps(SAID)}\n```",
        f"<think>A fox, {{I think}}.</think>\n{json.dumps(SAID | {'mood': 'calm'})}",
        json.dumps({"short": "狐狸在跑", "rich": "一只红色的狐狸跑过田野。"}, ensure_ascii=False),
    ],
)
def test_answers_of_usual_forms_are_read(content: str) -> None:
    text, _ = answer_of(json.dumps(completion(content, finish_reason="stop")).encode())
    assert isinstance(text, CaptionText)


def test_an_answer_that_was_cut_off_is_told() -> None:
    refused, _ = answer_of(json.dumps(completion('{"short": "a', finish_reason="length")).encode())
    assert isinstance(refused, NotCaptioned)
    assert refused.reason is Refusal.CUT


WORDS = st.sampled_from(["choices", "message", "content", "usage", "prompt_tokens"])
LEAVES = st.none() | st.text(max_size=8) | st.integers() | st.floats()
TREES = st.recursive(LEAVES, lambda tree: st.lists(tree, max_size=3) | st.dictionaries(WORDS, tree), max_leaves=8)


@settings(max_examples=examples(60))
@given(
    body=st.binary(max_size=200)
    | TREES.map(lambda tree: json.dumps(tree).encode())
    | st.text(max_size=100).map(lambda text: json.dumps(completion(text)).encode())
)
def test_no_answer_raises_anything(body: bytes) -> None:
    text, usage = answer_of(body)
    assert isinstance(text, NotCaptioned | CaptionText)
    assert usage.prompt_tokens >= 0


@pytest.mark.parametrize("url", ["ftp://a/v1", "http://user:pw@a/v1", "http://a/v1?key=x", "a"])
def test_an_address_with_a_key_in_it_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="url"):
        CaptionerSettings(url=url, model="seer")
