"""Asks a captioner from a thread that makes clips: requests run in a loop of their own, several at a time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from kinema_api.recorded import CaptionEndpoint
from kinema_dataset.samples import StoredCaptions
from kinema_jobs.prepare.caption_answer import NotCaptioned, Usage
from kinema_jobs.prepare.captioner import PROMPT, UNANSWERED, Captioner, CaptionerSettings
from kinema_jobs.prepare.clip_maker import Uncaptioned


class CaptionThread:
    """A captioner whose requests run in a thread; made by `captioning`."""

    def __init__(self, captioner: Captioner, loop: asyncio.AbstractEventLoop) -> None:
        self._captioner, self._loop = captioner, loop
        self._told = (0, Usage())

    def __call__(self, jpegs: Sequence[bytes], name: str) -> Callable[[], StoredCaptions | Uncaptioned]:
        """See `clip_maker.Ask`. What is returned raises CaptionerUnusable and ApiKeyUnusable."""
        asked = asyncio.run_coroutine_threadsafe(self._captioner.caption(jpegs, name), self._loop)

        def answer() -> StoredCaptions | Uncaptioned:
            try:
                return StoredCaptions.of(asked.result().captions())
            except NotCaptioned as refusal:
                return Uncaptioned(str(refusal.reason), str(refusal), refusal.reason in UNANSWERED)

        return answer

    @property
    def captioned(self) -> int:
        """Clips that got a caption so far."""
        return self._captioner.tally.captioned

    def since(self) -> tuple[int, Usage]:
        """Requests and tokens since the last call."""
        before, self._told = self._told, (self._captioner.tally.requests, self._captioner.tally.usage)
        requests, usage = self._told
        spent = Usage.model_construct(
            prompt_tokens=usage.prompt_tokens - before[1].prompt_tokens,
            completion_tokens=usage.completion_tokens - before[1].completion_tokens,
        )
        return requests - before[0], spent


@contextmanager
def captioning(endpoint: CaptionEndpoint | None, key_file: Path | None) -> Iterator[CaptionThread | None]:
    """A captioner for as long as the context is open; None without an endpoint."""
    if endpoint is None:
        yield None
        return
    settings = CaptionerSettings(
        url=endpoint.url, model=endpoint.model, prompt=endpoint.prompt or PROMPT, key_file=key_file
    )
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="captioner", daemon=True)
    thread.start()
    captioner = Captioner(settings)
    try:
        asyncio.run_coroutine_threadsafe(captioner.__aenter__(), loop).result()
        yield CaptionThread(captioner, loop)
    finally:
        asyncio.run_coroutine_threadsafe(captioner.__aexit__(None, None, None), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
