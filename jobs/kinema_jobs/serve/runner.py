"""Carries one order out: model, denoising, artefacts, upload. What blocks runs in one thread beside the event loop."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import secrets
import tempfile
import time
import traceback
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from kinema_api.generation import Seam
from kinema_api.wire import HeardPrompt, OrderResult, UploadedFile, WorkOrder
from kinema_jobs.clip.expansion import ExpansionSettings, expand_prompt
from kinema_jobs.clip.inputs import Work, open_footage
from kinema_jobs.clip.media import write_artefacts
from kinema_jobs.clip.rendering import ClipRequest, ClipShape, Rendered, clip_shape, render, request_record
from kinema_jobs.errors import DeviceLost, FileUnusable, JobError, ModelTooLarge
from kinema_jobs.serve import metrics
from kinema_jobs.serve.device import is_poisoned
from kinema_jobs.serve.model_cache import ModelCache
from kinema_jobs.serve.orders import OrderInHand
from kinema_jobs.serve.transfer import Transfers
from kinema_model.conditions.tasks import Task, check_task
from kinema_model.errors import BrokenArtefact, ModelError, SamplingStopped
from kinema_model.pipeline import Pipeline
from kinema_model.text.encoder import MAX_TOKENS
from kinema_model.text.reading import Reading

log = logging.getLogger(__name__)

T = TypeVar("T")
_SALT = secrets.token_bytes(32)
"""So that a log tells equal prompts of one process, and nobody can try guesses on it."""


_POISONED = "The server's device has failed and the server starts again: give the order to another one."


class _Stopped(Exception):
    """The order was stopped while nothing was being denoised."""


@dataclass(frozen=True)
class _Clip:
    """What was rendered, from what, and in how many seconds."""

    work: Work
    request: ClipRequest
    shape: ClipShape
    rendered: Rendered
    denoise_seconds: float
    reading: Reading


def clip_request(order: WorkOrder) -> ClipRequest:
    """The part of an order that says what the clip shows."""
    return ClipRequest(
        prompt=order.prompt,
        negative_prompt=order.negative_prompt,
        seconds=order.seconds,
        size=order.size,
        fps=order.fps,
        seed=order.seed,
        steps=order.steps,
        guidance_scale=order.guidance_scale,
        shots=order.shots,
        strength=order.strength,
    )


class OrderRunner:
    """Runs orders one after the other; an order that a newer attempt replaced ends before the newer one starts."""

    def __init__(self, models: ModelCache, transfers: Transfers, expanding: ExpansionSettings) -> None:
        self._models = models
        self._transfers = transfers
        self._expanding = expanding
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="render")
        self._one_at_a_time = asyncio.Lock()
        self.broken = asyncio.Event()
        """Set: the device answers nothing any more in this process, which has to end."""

    async def run(self, taken: OrderInHand) -> None:
        """Carry an order out; however it ends, `taken` says so."""
        log.info("order %s: taken, %s", _name(taken), _describe(taken.order.prompt))
        try:
            async with self._one_at_a_time:
                self._require_device()
                await self._carry_out(taken)
        except (_Stopped, SamplingStopped):
            taken.end("cancelled", "Stopped before the clip was done: give another attempt to have it.")
        except (FileUnusable, ModelTooLarge, BrokenArtefact) as error:
            taken.end("failed", str(error), retriable=False)
        except JobError as error:
            taken.end("failed", str(error))
        except ModelError as error:
            taken.end("failed", str(error), retriable=False)
        except Exception as error:  # a server outlives most of whatever one order brings up
            # Without the message: it may repeat the prompt.
            where = "".join(traceback.format_tb(error.__traceback__))
            log.error("order %s: %s\n%s", _name(taken), type(error).__name__, where)  # noqa: TRY400
            if is_poisoned(error):
                self.broken.set()
                taken.end("failed", _POISONED)
            else:
                said = f"Rendering broke off ({type(error).__name__}): see the server's log, then try again."
                taken.end("failed", said)
        log.info("order %s: %s%s", _name(taken), taken.phase, f": {taken.error}" if taken.error else "")

    def _require_device(self) -> None:
        """Raise `DeviceLost` once the device has failed: no order is tried on it again."""
        if self.broken.is_set():
            raise DeviceLost(_POISONED)

    def close(self) -> None:
        """Let the thread go without waiting for it."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Run what blocks or computes in the one rendering thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def _carry_out(self, taken: OrderInHand) -> None:
        pipeline, load_seconds = await self._load(taken)
        check_task(Task(taken.order.task), pipeline.config.tasks)
        with tempfile.TemporaryDirectory(prefix="kinema-inputs-") as folder:
            work = await self._work(taken, Path(folder), pipeline.config.max_side)
            clip = await self._render(taken, pipeline, work)
            started = time.monotonic()
            files = await self._deliver(taken, clip)
        encode_seconds = time.monotonic() - started
        metrics.ENCODE_SECONDS.observe(encode_seconds)
        shape = clip.shape
        taken.result = OrderResult(
            files=files,
            seconds=shape.seconds,
            size=shape.size,
            fps=shape.fps,
            load_seconds=load_seconds,
            denoise_seconds=clip.denoise_seconds,
            encode_seconds=encode_seconds,
            expanded_prompt=clip.request.expansion.rich if clip.request.expansion else None,
            prompt=_heard(clip.reading),
            seams=tuple(Seam(frame=s.frame, jump=s.jump, usual=s.usual) for s in clip.rendered.seams),
        )
        taken.end("succeeded")

    async def _work(self, taken: OrderInHand, folder: Path, largest: int) -> Work:
        """What the order's task works on, fetched into `folder`."""
        order = taken.order
        fetching = (self._transfers.fetch_input(given, folder / given.name) for given in order.inputs)
        await _unless_stopped(taken, _all(fetching))
        opening, stopped = [(given.name, folder / given.name) for given in order.inputs], taken.stop.is_set
        footage = await self.in_thread(
            lambda: {name: open_footage(name, path, largest, stopped) for name, path in opening}
        )
        work = Work(Task(order.task), footage, order.input_seconds, order.mask_region)
        work.check()
        return work

    async def _render(self, taken: OrderInHand, pipeline: Pipeline, work: Work) -> _Clip:
        request = await self._expanded(taken)
        shape = clip_shape(pipeline.config, request, work.task, work.size)
        taken.phase = "denoising"
        started = time.monotonic()
        rendered = await self.in_thread(lambda: self._denoise(taken, pipeline, work, request, shape))
        seconds = time.monotonic() - started
        metrics.DEVICE_SECONDS.labels(pipeline.device.type).inc(seconds)
        taken.phase = "encoding"
        prompts = [request.heard, *(shot.prompt for shot in request.shots)]
        reading = await self.in_thread(lambda: pipeline.reading(prompts))
        return _Clip(work, request, shape, rendered, seconds, reading)

    async def _load(self, taken: OrderInHand) -> tuple[Pipeline, float]:
        if self._models.pipeline is not None:
            return self._models.pipeline, 0.0
        started = time.monotonic()
        pipeline = await _unless_stopped(taken, self._models.obtain(taken.order.model, self.in_thread))
        seconds = time.monotonic() - started
        metrics.MODEL_LOAD_SECONDS.observe(seconds)
        return pipeline, seconds

    async def _expanded(self, taken: OrderInHand) -> ClipRequest:
        """The order's request, said at length if it asks for that."""
        request = clip_request(taken.order)
        if not taken.order.expand_prompt:
            return request
        asking = expand_prompt(request.prompt, request.seed, self._expanding)
        return replace(request, expansion=await _unless_stopped(taken, asking))

    def _denoise(
        self, taken: OrderInHand, pipeline: Pipeline, work: Work, request: ClipRequest, shape: ClipShape
    ) -> Rendered:
        last = time.monotonic()

        def on_step(done: int, total: int) -> None:
            nonlocal last
            now = time.monotonic()
            metrics.STEP_SECONDS.observe(now - last)
            last, taken.step, taken.steps = now, done, total

        return render(pipeline, request, work, shape, on_step, taken.stop.is_set)

    async def _deliver(self, taken: OrderInHand, clip: _Clip) -> tuple[UploadedFile, ...]:
        order, video, fps = taken.order, clip.rendered.video, clip.shape.fps
        record = request_record(clip.request, clip.work, clip.shape, clip.rendered, order.model.digest)
        record |= {"uid": order.uid, "attempt": order.attempt, "namespace": order.namespace, "name": order.name}
        with tempfile.TemporaryDirectory(prefix="kinema-order-") as folder:
            files = await self.in_thread(lambda: write_artefacts(video, fps, Path(folder), record))
            by_name = {path.name: path for path in files}
            transfers = self._transfers.trusting(order.ca_bundle)
            uploads = (transfers.upload(u.name, u.url, by_name[u.name]) for u in order.uploads)
            return tuple(await _unless_stopped(taken, _all(uploads)))


async def _all(several: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in several]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


async def _unless_stopped(taken: OrderInHand, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is cancelled when the order is stopped. Raises `_Stopped`."""
    working = asyncio.ensure_future(work)
    stopping = asyncio.ensure_future(taken.stop.wait())
    try:
        await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise _Stopped
        return working.result()
    finally:
        for task in (working, stopping):
            task.cancel()
        await asyncio.gather(working, stopping, return_exceptions=True)


def _heard(reading: Reading) -> HeardPrompt:
    return HeardPrompt(tokens=reading.tokens, limit=MAX_TOKENS, cut=reading.cut, unseen_words=reading.unseen)


def _name(taken: OrderInHand) -> str:
    return f"{taken.order.namespace}/{taken.order.name} attempt {taken.order.attempt}"


def _describe(prompt: str) -> str:
    """A prompt as logs may show it."""
    told = hmac.new(_SALT, prompt.encode(errors="surrogatepass"), hashlib.sha256).hexdigest()[:12]
    return f"prompt of {len(prompt)} characters, {told}"
