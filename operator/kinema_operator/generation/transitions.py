"""The steps of a generation's status, each a pure function from one status to the next.

    Pending -> Scheduled -> Running -> (delivery fixed) -> Succeeded
       ^___________|___________|  another attempt             Failed, Cancelled from anywhere before the delivery

Conditions: Accepted (the model is fixed), Scheduled (a server has it), Running, Succeeded, Failed, Cancelled.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from kinema_api import layout
from kinema_api.base import find_condition
from kinema_api.clip import MAX_PROMPT_CHARACTERS
from kinema_api.generation import (
    MAX_SEAMS,
    MAX_UNSEEN_WORDS,
    MAX_WARNINGS,
    Artefact,
    DeliveredFile,
    Delivery,
    GenerationProgress,
    PinnedInput,
    PinnedStores,
    PromptStatus,
    Timings,
    VideoArtefact,
    VideoGeneration,
    VideoGenerationStatus,
)
from kinema_api.wire import EncodedPrompt, OrderResult, OrderState
from kinema_operator.core.conditions import PlanTime
from kinema_operator.core.settings import Settings
from kinema_operator.dispatch.server_pod import ServerPod
from kinema_operator.generation.observed import CommittedFile, Model, SignedAddress

Status = VideoGenerationStatus

RETRYING: Final = "Retrying"
DISRUPTED: Final = "Disrupted"
UNFIT: Final = "ServerUnfit"
SERVER_SILENT: Final = "ServerSilent"
_SEED_BYTES: Final = 4


def change(status: Status, **fields: Any) -> Status:
    """`status` with some fields changed."""
    return status.model_copy(update=fields)


def chosen_seed(uid: str) -> int:
    """The seed of a request without one: differs between requests, and is the same at every reconcile of one."""
    return int.from_bytes(hashlib.sha256(uid.encode()).digest()[:_SEED_BYTES])


def not_accepted(status: Status, at: PlanTime, reason: str, message: str) -> Status:
    """Not accepted yet: waits for something that may appear later."""
    return change(status, phase="Pending", conditions=at.mark(status.conditions, "Accepted", False, reason, message))


def accepted(
    generation: VideoGeneration,
    status: Status,
    at: PlanTime,
    digest: str,
    model: Model,
    inputs: tuple[PinnedInput, ...] = (),
) -> Status:
    """Fixes the model, where its files are, the seed, the stores and the inputs."""
    if status.model_digest is not None:
        return status
    seed = generation.spec.seed if generation.spec.seed is not None else chosen_seed(generation.metadata.uid)
    return change(
        status,
        model_digest=digest,
        seed=seed,
        stores=PinnedStores(
            weights=model.store, clips=generation.spec.artifact_store or model.store, folder=model.folder
        ),
        inputs=inputs,
        conditions=at.mark(status.conditions, "Accepted", True, "Accepted", f"rendered by the model {digest}"),
    )


def queued(status: Status, at: PlanTime, position: int | None, reason: str, message: str) -> Status:
    """Waits for a server; keeps the reason of a failed attempt."""
    before = find_condition(status.conditions, "Scheduled")
    conditions = status.conditions
    if before is None or before.reason not in (RETRYING, DISRUPTED, UNFIT):
        conditions = at.mark(conditions, "Scheduled", False, reason, message)
    return change(status, phase="Pending", queue_position=position, conditions=conditions)


def scheduled(status: Status, at: PlanTime, server: ServerPod) -> Status:
    """Assigns the next attempt to a server. Written before the server gets the order."""
    return change(
        status,
        phase="Scheduled",
        attempt=status.attempt + 1,
        server=server.name,
        server_uid=server.uid,
        queue_position=None,
        progress=None,
        stopping_since=None,
        conditions=at.mark(status.conditions, "Scheduled", True, "ServerChosen", f"on {server.name}"),
    )


def unscheduled(status: Status, at: PlanTime, reason: str, message: str) -> Status:
    """The server was busy: back to the queue, without counting a failure."""
    return change(status, phase="Pending", conditions=at.mark(status.conditions, "Scheduled", False, reason, message))


def running(generation: VideoGeneration, status: Status, at: PlanTime, state: OrderState) -> Status:
    """The server renders the clip."""
    return change(
        status,
        phase="Running",
        progress=_progress(status.progress, state, at.now),
        timings=status.timings or Timings(queued_seconds=_since_creation(generation, at.now)),
        conditions=at.mark(status.conditions, "Running", True, "Rendering", "the server is denoising the clip"),
    )


def _progress(before: GenerationProgress | None, state: OrderState, now: datetime) -> GenerationProgress:
    """The server's progress, with the time of the last change by the operator's clock."""
    percent = 100 * state.step // state.total_steps if state.total_steps else 0
    slowest = before.step_seconds if before else None
    moved = now
    if before is not None and before.moved is not None:
        if (before.stage, before.step, before.loaded_percent) == (state.phase, state.step, state.loaded_percent):
            moved = before.moved
        elif before.stage == "denoising" and state.step > before.step > 0:
            seconds = (now - before.moved).total_seconds() / (state.step - before.step)
            slowest = max(slowest or 0.0, round(seconds, 3))
    return GenerationProgress(
        stage=state.phase,
        loaded_percent=state.loaded_percent,
        moved=moved,
        step_seconds=slowest,
        step=state.step,
        total_steps=state.total_steps,
        percent=min(percent, 100),
    )


def silent(status: Status, at: PlanTime, message: str) -> Status:
    """The server does not respond; since when is the condition's transition time."""
    return change(status, conditions=at.mark(status.conditions, "Running", "Unknown", SERVER_SILENT, message))


def silent_since(status: Status) -> datetime | None:
    """Time since which the server has not responded, or None if it did when last asked."""
    found = find_condition(status.conditions, "Running")
    return found.last_transition_time if found and found.status == "Unknown" else None


def heard(status: Status, at: PlanTime) -> Status:
    """The server responds again, but has not started."""
    if silent_since(status) is None:
        return status
    return change(
        status, conditions=at.mark(status.conditions, "Running", False, "NotStarted", "the server has no such order")
    )


def retrying(status: Status, at: PlanTime, message: str) -> Status:
    """The attempt has failed: back to the queue. The status keeps the server, so that another one is preferred."""
    conditions = at.mark(status.conditions, "Scheduled", False, RETRYING, message)
    conditions = at.mark(conditions, "Running", False, RETRYING, message)
    return change(
        status, phase="Pending", failures=status.failures + 1, progress=None, delivery=None, conditions=conditions
    )


def disrupted(status: Status, at: PlanTime, message: str) -> Status:
    """Its server was deleted or its node lost: back to the queue, without counting a failure."""
    conditions = at.mark(status.conditions, "Scheduled", False, DISRUPTED, message)
    if find_condition(conditions, "Running") is not None:
        conditions = at.mark(conditions, "Running", False, DISRUPTED, message)
    return change(status, phase="Pending", progress=None, delivery=None, conditions=conditions)


def delivered(generation: VideoGeneration, status: Status, at: PlanTime, result: OrderResult) -> Status:
    """Fixes the one attempt that will be committed. Written before anything is copied."""
    started = status.timings or Timings(queued_seconds=_since_creation(generation, at.now))
    return change(
        status,
        phase="Running",
        delivery=Delivery(
            attempt=status.attempt,
            files=tuple(DeliveredFile(name=f.name, sha256=f.sha256, bytes=f.bytes) for f in result.files),
            seconds=result.seconds,
            size=result.size,
            fps=result.fps,
        ),
        seams=result.seams[:MAX_SEAMS],
        expanded_prompt=(result.expanded_prompt or "")[:MAX_PROMPT_CHARACTERS] or None,
        prompt=_prompt_status(result.prompt),
        warnings=result.warnings[:MAX_WARNINGS],
        timings=Timings(
            queued_seconds=started.queued_seconds,
            load_seconds=result.load_seconds,
            denoise_seconds=result.denoise_seconds,
            encode_seconds=result.encode_seconds,
        ),
        conditions=at.mark(status.conditions, "Running", True, "Committing", "the clip is being committed"),
    )


def _prompt_status(encoded: EncodedPrompt | None) -> PromptStatus | None:
    if encoded is None:
        return None
    words = tuple(word[:256] for word in encoded.unseen_words[:MAX_UNSEEN_WORDS])
    return PromptStatus(
        tokens=encoded.tokens, limit=encoded.limit, cut=encoded.cut[:MAX_PROMPT_CHARACTERS] or None, unseen_words=words
    )


def unheard(status: Status) -> str | None:
    """A sentence on the parts of the prompt that the model ignored, if any."""
    heard = status.prompt
    parts = []
    if heard is not None and heard.cut:
        parts.append(f"the prompt was cut off after {heard.limit} tokens, before: {heard.cut[:100]!r}")
    if heard is not None and heard.unseen_words:
        parts.append(f"these words did not occur in training: {', '.join(heard.unseen_words)}")
    return f"the model ignored part of the prompt: {'; '.join(parts)}"[:1000] if parts else None


def succeeded(status: Status, at: PlanTime, delivery: Delivery, files: tuple[CommittedFile, ...]) -> Status:
    """The clip is committed."""
    by_name = {file.name: _artefact(file) for file in files}
    video = by_name[layout.VIDEO]
    conditions = at.mark(status.conditions, "Running", False, "Succeeded", "the clip is complete")
    return change(
        status,
        phase="Succeeded",
        delivery=None,
        progress=_complete(status.progress),
        video=VideoArtefact(**video.model_dump(), seconds=delivery.seconds, size=delivery.size, fps=delivery.fps),
        thumbnail=by_name.get(layout.THUMBNAIL),
        spritesheet=by_name.get(layout.SPRITESHEET),
        completion_time=at.now,
        conditions=at.mark(conditions, "Succeeded", True, "Committed", _done_sentence(status, video.uri)),
    )


def _done_sentence(status: Status, uri: str) -> str:
    warnings = [words for words in (unheard(status), *status.warnings) if words]
    return "; ".join((f"the clip is at {uri}", *warnings))


def without_addresses(status: Status) -> Status:
    """`status` without presigned URLs."""
    artefacts = {name: getattr(status, name) for name in ("video", "thumbnail", "spritesheet")}
    bare = {"url": None, "url_expires": None}
    return change(status, **{name: a.model_copy(update=bare) for name, a in artefacts.items() if a is not None})


def renewal_wait(status: Status, settings: Settings, now: datetime) -> float:
    """Seconds until half of the lifetime of the presigned URLs; infinite if there are none."""
    if status.video is None or status.video.url_expires is None:
        return math.inf
    return (status.video.url_expires - now).total_seconds() - settings.public_url_seconds / 2


def signed_again(status: Status, addresses: Sequence[SignedAddress]) -> Status:
    """`status` with new presigned URLs."""
    by_uri = {address.uri: {"url": address.url, "url_expires": address.expires} for address in addresses}
    artefacts = {name: getattr(status, name) for name in ("video", "thumbnail", "spritesheet")}
    return change(
        status, **{n: a.model_copy(update=by_uri[a.uri]) for n, a in artefacts.items() if a and a.uri in by_uri}
    )


def forgotten(status: Status) -> Status:
    """retentionSeconds are over: the clip's files are deleted next."""
    return change(status, video=None, thumbnail=None, spritesheet=None, cleaned=False)


def failed(status: Status, at: PlanTime, reason: str, message: str) -> Status:
    """The request has failed; `message` says why."""
    return _ended(status, at, "Failed", reason, message)


def cancelled(status: Status, at: PlanTime) -> Status:
    """The request was cancelled."""
    return _ended(status, at, "Cancelled", "CancelRequested", "spec.cancel is true")


def _ended(status: Status, at: PlanTime, phase: str, reason: str, message: str) -> Status:
    conditions = at.mark(status.conditions, phase, True, reason, message)
    conditions = at.mark(conditions, "Succeeded", False, reason, message)
    if find_condition(conditions, "Running") is not None:
        conditions = at.mark(conditions, "Running", False, phase, message)
    return change(
        status,
        phase=phase,
        queue_position=None,
        delivery=None,
        stopping_since=None,
        completion_time=at.now,
        conditions=conditions,
    )


def waits_for_store(status: Status, at: PlanTime, reason: str, message: str) -> Status:
    """The clip is rendered, but the store does not allow the commit yet."""
    return change(status, conditions=at.mark(status.conditions, "Succeeded", False, reason, message))


def _artefact(file: CommittedFile) -> Artefact:
    return Artefact(uri=file.uri, url=file.url, url_expires=file.url_expires, sha256=file.sha256, bytes=file.bytes)


def _complete(progress: GenerationProgress | None) -> GenerationProgress | None:
    if progress is None:
        return None
    return progress.model_copy(update={"step": progress.total_steps, "percent": 100, "stage": None})


def _since_creation(generation: VideoGeneration, now: datetime) -> float | None:
    created = generation.metadata.creation_timestamp
    return (now - created).total_seconds() if created else None
