"""Executes one order: downloads, makes the clip, uploads. Blocking calls run in one thread beside the event loop."""

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
from pathlib import Path
from typing import Any, TypeVar

from kinema_api.generation import Seam
from kinema_api.wire import OrderResult, UploadedFile, WorkOrder
from kinema_jobs.clip.expansion import ExpansionSettings
from kinema_jobs.clip.make import InputFiles, MadeClip, Stage, make_clip, resolve
from kinema_jobs.clip.model import ClipModel
from kinema_jobs.errors import DeviceLost, FileUnusable, JobError, ModelTooLarge
from kinema_jobs.serve import metrics
from kinema_jobs.serve.device import is_poisoned
from kinema_jobs.serve.model_cache import ModelCache
from kinema_jobs.serve.orders import ActiveOrder
from kinema_jobs.serve.transfer import Transfers
from kinema_model.errors import BrokenArtefact, ModelError, SamplingStopped

log = logging.getLogger(__name__)

T = TypeVar("T")
_SALT = secrets.token_bytes(32)
"""Makes equal prompts of one process equal in its log, while a reader of the log cannot test guesses."""


_POISONED = "The server's device has failed and the server restarts: send the order to another server."


class _Stopped(Exception):
    """The order was stopped outside denoising."""


class _OrderWatch:
    """Records an order's progress for its state, and the duration of its steps for Prometheus."""

    def __init__(self, taken: ActiveOrder) -> None:
        self._taken = taken
        self._last = 0.0

    def stage(self, stage: Stage) -> None:
        self._taken.phase = stage
        self._last = time.monotonic()

    def step(self, done: int, total: int) -> None:
        now = time.monotonic()
        metrics.STEP_SECONDS.observe(now - self._last)
        self._last, self._taken.step, self._taken.steps = now, done, total

    def stopped(self) -> bool:
        return self._taken.stop.is_set()


class OrderRunner:
    """Runs orders one after the other; an order that a newer attempt replaced ends before the newer one starts."""

    def __init__(self, models: ModelCache, transfers: Transfers, expanding: ExpansionSettings) -> None:
        self._models = models
        self._transfers = transfers
        self._expanding = expanding
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="render")
        self._one_at_a_time = asyncio.Lock()
        self.broken = asyncio.Event()
        """Set: the device has failed for this process, which has to end."""

    async def run(self, taken: ActiveOrder) -> None:
        """Execute an order; its result is in `taken`."""
        log.info("order %s: taken, %s", _name(taken), _describe(taken.order.prompt))
        try:
            async with self._one_at_a_time:
                self._require_device()
                await self._carry_out(taken)
        except (_Stopped, SamplingStopped):
            taken.end("cancelled", "Stopped before the clip was complete: start another attempt.")
        except (FileUnusable, ModelTooLarge, BrokenArtefact) as error:
            taken.end("failed", str(error), retriable=False)
        except JobError as error:
            taken.end("failed", str(error))
        except ModelError as error:
            taken.end("failed", str(error), retriable=False)
        except Exception as error:  # a server survives most errors of a single order
            # Without the message: it may repeat the prompt.
            where = "".join(traceback.format_tb(error.__traceback__))
            log.error("order %s: %s\n%s", _name(taken), type(error).__name__, where)  # noqa: TRY400
            if is_poisoned(error):
                self.broken.set()
                taken.end("failed", _POISONED)
            else:
                said = f"Rendering failed ({type(error).__name__}): see the server's log, then try again."
                taken.end("failed", said)
        log.info("order %s: %s%s", _name(taken), taken.phase, f": {taken.error}" if taken.error else "")

    def _require_device(self) -> None:
        """Raise `DeviceLost` once the device has failed, so that no further order is tried."""
        if self.broken.is_set():
            raise DeviceLost(_POISONED)

    def close(self) -> None:
        """Let the thread go without waiting for it."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Run a blocking call in the rendering thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def _carry_out(self, taken: ActiveOrder) -> None:
        model, load_seconds = await self._load(taken)
        request = await _unless_stopped(taken, resolve(taken.order, model, self._expanding))
        with (
            tempfile.TemporaryDirectory(prefix="kinema-inputs-") as inputs,
            tempfile.TemporaryDirectory(prefix="kinema-order-") as folder,
        ):
            input_files = await self._fetch(taken, Path(inputs))
            about = _about(taken.order)
            made = await self.in_thread(
                lambda: make_clip(model, request, input_files, Path(folder), _OrderWatch(taken), about)
            )
            metrics.DEVICE_SECONDS.labels(model.device.type).inc(made.denoise_seconds)
            started = time.monotonic()
            files = await self._upload(taken, made)
        encode_seconds = made.encode_seconds + time.monotonic() - started
        metrics.ENCODE_SECONDS.observe(encode_seconds)
        taken.result = OrderResult(
            files=files,
            seconds=made.shape.seconds,
            size=made.shape.size,
            fps=made.shape.fps,
            load_seconds=load_seconds,
            denoise_seconds=made.denoise_seconds,
            encode_seconds=encode_seconds,
            expanded_prompt=made.expanded_prompt,
            prompt=made.heard,
            warnings=made.warnings,
            seams=tuple(Seam(frame=s.frame, jump=s.jump, usual=s.usual) for s in made.seams),
        )
        taken.end("succeeded")

    async def _fetch(self, taken: ActiveOrder, folder: Path) -> InputFiles:
        """Download the inputs of the order's task to `folder`."""
        inputs = taken.order.inputs
        fetching = (self._transfers.fetch_input(one, folder / one.name) for one in inputs)
        await _unless_stopped(taken, _all(fetching))
        return InputFiles({one.name: folder / one.name for one in inputs}, taken.order.mask_region)

    async def _upload(self, taken: ActiveOrder, made: MadeClip) -> tuple[UploadedFile, ...]:
        order = taken.order
        by_name = {path.name: path for path in made.files}
        transfers = self._transfers.trusting(order.ca_bundle)
        uploads = (transfers.upload(target.name, target.url, by_name[target.name]) for target in order.uploads)
        return tuple(await _unless_stopped(taken, _all(uploads)))

    async def _load(self, taken: ActiveOrder) -> tuple[ClipModel, float]:
        if self._models.loaded is not None:
            return self._models.loaded, 0.0
        started = time.monotonic()

        def loaded(percent: int) -> None:
            taken.loaded_percent = percent

        model = await _unless_stopped(taken, self._models.obtain(taken.order.model, self.in_thread, loaded))
        seconds = time.monotonic() - started
        metrics.MODEL_LOAD_SECONDS.observe(seconds)
        return model, seconds


async def _all(several: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in several]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


async def _unless_stopped(taken: ActiveOrder, work: Coroutine[Any, Any, T]) -> T:
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


def _about(order: WorkOrder) -> dict[str, Any]:
    """Fields of request.json about the order."""
    where = {"namespace": order.namespace, "name": order.name}
    return {"modelDigest": order.model.digest, "uid": order.uid, "attempt": order.attempt, **where}


def _name(taken: ActiveOrder) -> str:
    return f"{taken.order.namespace}/{taken.order.name} attempt {taken.order.attempt}"


def _describe(prompt: str) -> str:
    """Length and keyed hash of a prompt, for logs."""
    tag = hmac.new(_SALT, prompt.encode(errors="surrogatepass"), hashlib.sha256).hexdigest()[:12]
    return f"prompt of {len(prompt)} characters, {tag}"
