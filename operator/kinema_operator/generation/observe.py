"""Looks at the world of a VideoGeneration: the caches, its server, and the object store where a decision needs it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from kinema_api import names
from kinema_api.base import find_condition
from kinema_api.errors import BrokenManifest, ObjectMissing, StorageError
from kinema_api.generation import KIND, VideoGeneration
from kinema_api.serving import VideoModel
from kinema_api.wire import OrderState, UploadedFile
from kinema_operator.controller import Cache
from kinema_operator.generation.commit import ReportedFile, inspect, sign_again
from kinema_operator.generation.inputs import Inputs, InputUnusable
from kinema_operator.generation.observed import Inspection, Model, Observed, Problem, Refusal, Turn
from kinema_operator.generation.queue import ASSIGNED, TERMINAL, assign, idle_servers, position, request, waiting_line
from kinema_operator.generation.server_client import ServerClient
from kinema_operator.generation.stores import clip_store, model_store
from kinema_operator.generation.transitions import renewal_wait
from kinema_operator.generation.work_order import read_model
from kinema_operator.serving.labels import model_selector
from kinema_operator.serving.observe import Stores
from kinema_operator.serving.server_pod import ServerPod, server_pod
from kinema_operator.settings import Settings
from kinema_operator.storage import storage_reason


@dataclass(frozen=True)
class Look:
    """One look at one generation."""

    generation: VideoGeneration
    model: VideoModel | None
    servers: tuple[ServerPod, ...]
    cache: Cache
    stores: Stores
    client: ServerClient
    settings: Settings
    refusal: Refusal | None

    async def observe(self) -> Observed:
        """What the plan needs to know in the phase that the generation is in, and no more."""
        status = self.generation.status
        if status.phase == "Succeeded" and renewal_wait(status, self.settings, _now()) <= 0:
            return await self._signing()
        if status.phase in TERMINAL:
            return Observed()
        if status.delivery is not None:
            return await self._committing()
        if status.phase in ASSIGNED:
            return await self._assigned()
        return await self._waiting()

    async def _signing(self) -> Observed:
        metadata = self.generation.metadata
        try:
            store = await self.stores.for_object(metadata.namespace, clip_store(self.generation, self.model))
        except StorageError as error:
            return Observed(problem=Problem(storage_reason(error), str(error)))
        life = self.settings.public_url_seconds
        return Observed(addresses=sign_again(store, metadata.namespace, metadata.uid, life, _now()))

    async def _committing(self) -> Observed:
        delivery = self.generation.status.delivery
        assert delivery is not None
        inspection, problem = await self._inspect(delivery.attempt, delivery.files)
        return Observed(model=self._model(), inspection=inspection, problem=problem)

    async def _assigned(self) -> Observed:
        status, uid = self.generation.status, self.generation.metadata.uid
        server = next((s for s in self.servers if s.uid == status.server_uid), None)
        answer = await self.client.order(server.address, uid) if server and server.address else None
        inspection: Inspection | None = None
        problem: Problem | None = None
        if isinstance(answer, OrderState) and answer.phase == "succeeded" and answer.attempt == status.attempt:
            files: tuple[UploadedFile, ...] = answer.result.files if answer.result else ()
            inspection, problem = await self._inspect(answer.attempt, files)
        return Observed(
            model=self._model(),
            servers=self._ready(status.model_digest),
            server=server,
            answer=answer,
            refusal=self.refusal,
            inspection=inspection,
            problem=problem,
        )

    async def _waiting(self) -> Observed:
        status, name = self.generation.status, self.generation.metadata.name
        model = self._model()
        current = model.digest if model else None
        digest = status.model_digest or current
        if model is None or digest is None:
            return Observed(model=model)
        found = (request(g) for g in self.cache.list(KIND, self.generation.metadata.namespace))
        requests = tuple(r for r in found if r.model == self.generation.spec.model_ref.name)
        line = waiting_line(requests, digest, current)
        short = names.short_digest(digest)
        idle = idle_servers((s for s in self.servers if s.short_digest == short), requests)
        turn = await self._turn(assign(line, idle).get(name))
        # One that is held has no turn until it is found that it need not be.
        held = status.model_digest is None or any(r.held for r in requests if r.name == name)
        return Observed(
            model=model,
            position=position(line, name),
            servers=self._ready(digest),
            turn=turn,
            problem=await self._problem(digest) if turn or held else None,
        )

    async def _turn(self, server: ServerPod | None) -> Turn | None:
        """A server whose turn it is and that answers: one that hangs would only cost the request an attempt."""
        if server is None or server.address is None:
            return None
        state = await self.client.server(server.address)
        return Turn(server, state.order) if state else None

    async def _problem(self, digest: str) -> Problem | None:
        """Whether stores can be used, and model and inputs are there and whole, before a server is asked."""
        namespace, clips = self.generation.metadata.namespace, clip_store(self.generation, self.model)
        try:
            await self.stores.checked(namespace, clips)
            models = await self.stores.checked(namespace, model_store(self.model))
            await asyncio.to_thread(read_model, models, digest)
            await Inputs(self.generation, clips, self.cache, self.stores).find()
        except InputUnusable as error:
            return error.problem
        except BrokenManifest as error:
            return Problem("BrokenModel", str(error), fatal=True)
        except ObjectMissing as error:
            return Problem("ModelMissing", str(error))
        except StorageError as error:
            return Problem(storage_reason(error), str(error))
        return None

    async def _inspect(self, attempt: int, files: Sequence[ReportedFile]) -> tuple[Inspection | None, Problem | None]:
        metadata = self.generation.metadata
        try:
            store = await self.stores.for_object(metadata.namespace, clip_store(self.generation, self.model))
            found = await asyncio.to_thread(
                inspect,
                store,
                metadata.namespace,
                metadata.uid,
                attempt,
                files,
                self.settings.public_url_seconds,
                _now(),
            )
        except StorageError as error:
            return None, Problem(storage_reason(error), str(error))
        return found, None

    def _ready(self, digest: str | None) -> int:
        short = names.short_digest(digest or "")
        return sum(s.available for s in self.servers if s.short_digest == short)

    def _model(self) -> Model | None:
        if self.model is None:
            return None
        resolved = find_condition(self.model.status.conditions, "Resolved")
        why = resolved.message if resolved else "the model has not been looked at yet"
        return Model(self.model.status.digest, why)


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def servers_of(generation: VideoGeneration, cache: Cache) -> tuple[ServerPod, ...]:
    """All pods that serve the model of a request, whatever digest."""
    selector = model_selector(generation.spec.model_ref.name)
    return tuple(server_pod(pod) for pod in cache.list("Pod", generation.metadata.namespace, selector))
