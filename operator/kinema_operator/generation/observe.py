"""Observes a VideoGeneration: the cache, its server, and the object store if the plan needs it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from kinema_api import names
from kinema_api.base import find_condition
from kinema_api.errors import BrokenManifest, ObjectMissing, StorageError
from kinema_api.generation import VideoGeneration
from kinema_api.serving import KIND as MODEL_KIND
from kinema_api.serving import VideoModel
from kinema_api.wire import OrderState, UploadedFile
from kinema_operator.core.controller import Cache
from kinema_operator.core.settings import Settings
from kinema_operator.core.stores import storage_reason
from kinema_operator.dispatch.owned import pods_of
from kinema_operator.dispatch.queues import RequestQueue, queues_of
from kinema_operator.dispatch.requests import ASSIGNED, TERMINAL, assign, idle_servers
from kinema_operator.dispatch.server_pod import ServerPod, ServerProblem, server_pod
from kinema_operator.generation import record
from kinema_operator.generation.commit import ReportedFile, inspect, leftovers, sign_again
from kinema_operator.generation.inputs import Inputs, InputUnusable, uploads_of
from kinema_operator.generation.observed import AssignedServer, Inspection, Model, Observed, OrderRefusal, Problem
from kinema_operator.generation.record import CommitRecord
from kinema_operator.generation.server_client import ServerClient
from kinema_operator.generation.stores import clip_store, weights_prefix, weights_store
from kinema_operator.generation.transitions import renewal_wait
from kinema_operator.generation.work_order import FolderChanged, broken_reason, read_model
from kinema_operator.shell.storage import StoreSource
from kinema_operator.shell.store_limits import ask


@dataclass(frozen=True)
class GenerationObserver:
    """Makes one observation of one generation."""

    generation: VideoGeneration
    model: VideoModel | None
    servers: tuple[ServerPod, ...]
    cache: Cache
    stores: StoreSource
    client: ServerClient
    settings: Settings
    refusal: OrderRefusal | None
    hindrance: Problem | None = None
    """Why the last effect on the store failed."""

    async def observe(self) -> Observed:
        """The observation that the plan needs in the generation's phase."""
        status = self.generation.status
        if (
            self.settings.status_urls
            and status.phase == "Succeeded"
            and renewal_wait(status, self.settings, _now()) <= 0
        ):
            return await self._signing()
        if status.phase in TERMINAL:
            return await self._ended()
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

    async def _ended(self) -> Observed:
        status, metadata = self.generation.status, self.generation.metadata
        if status.cleaned or (status.attempt == 0 and not status.inputs and not uploads_of(self.generation.spec)):
            return Observed()
        try:
            store = await self.stores.for_object(metadata.namespace, clip_store(self.generation, self.model))
            found = await ask(store, leftovers, store, metadata.namespace, metadata.uid, status.video is not None)
        except StorageError as error:
            return Observed(problem=Problem(storage_reason(error), str(error)))
        return Observed(leftovers=found)

    async def _committing(self) -> Observed:
        delivery = self.generation.status.delivery
        assert delivery is not None
        inspection, problem = await self._inspect(delivery.attempt, delivery.files)
        left = await self._leftovers() if inspection is not None and inspection.committed else None
        return Observed(model=self._model(), inspection=inspection, problem=problem or self.hindrance, leftovers=left)

    async def _leftovers(self) -> tuple[str, ...] | None:
        """Keys that are not needed beside a committed clip; None if unknown."""
        metadata = self.generation.metadata
        try:
            store = await self.stores.for_object(metadata.namespace, clip_store(self.generation, self.model))
            return await ask(store, leftovers, store, metadata.namespace, metadata.uid, True)
        except StorageError:
            return None

    async def _assigned(self) -> Observed:
        status, uid = self.generation.status, self.generation.metadata.uid
        server = next((s for s in self.servers if s.uid == status.server_uid), None)
        answer = await self.client.order(server.address, uid, server.uid) if server and server.address else None
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
            problem=problem or self.hindrance,
        )

    async def _waiting(self) -> Observed:
        status, metadata = self.generation.status, self.generation.metadata
        model = self._model()
        current = model.digest if model else None
        digest = status.model_digest or current
        if model is None or digest is None:
            return Observed(model=model)
        line = queues_of(self.cache, metadata.namespace).of(metadata.namespace, self.generation.spec.model_ref.name)
        held = status.model_digest is None or metadata.name in line.held
        looked = await self._before_a_server(digest) if held else Observed()
        assigned = None if looked.problem else await self._assigned_server(line, digest, current)
        if assigned is not None and not held:
            looked = await self._before_a_server(digest)
        return dataclasses.replace(
            looked,
            model=model,
            position=line.position(metadata.name, digest, current),
            servers=self._ready(digest),
            assigned=assigned,
            trouble=self._trouble(digest),
        )

    async def _assigned_server(self, line: RequestQueue, digest: str, current: str | None) -> AssignedServer | None:
        """The server that the request is assigned to, after checking that it responds, which saves a failed attempt.

        If it does not respond, or still works on an order that has been given up, the next server that is not assigned
        to another request is used.
        """
        short = names.short_digest(digest)
        idle = idle_servers((s for s in self.servers if s.short_digest == short), line.running.values())
        answering = [s for s in idle if not self.client.silent_lately(s.address)] or list(idle)
        chosen = assign(line.head(digest, current, len(answering)), answering)
        own = chosen.pop(self.generation.metadata.name, None)
        if own is None:
            return None
        taken = {server.uid for server in chosen.values()}
        later: AssignedServer | None = None
        for server in (own, *(s for s in idle if s.uid not in taken and s.uid != own.uid)):
            state = await self.client.server(server.address, server.uid) if server.address else None
            if state is None:
                continue
            if state.order in (None, self.generation.metadata.uid):
                return AssignedServer(server, state.order)
            stopping = self.client.stopping_seconds(server.address, state.order)
            later = later or AssignedServer(server, state.order, stopping)
        return later

    async def _before_a_server(self, digest: str) -> Observed:
        """Check stores, model and inputs before a server is assigned."""
        metadata, clips = self.generation.metadata, clip_store(self.generation, self.model)
        restored: CommitRecord | None = None
        try:
            store = await self.stores.checked(metadata.namespace, clips)
            if self.generation.status.model_digest is None:
                restored = await ask(store, record.find, store, metadata.namespace, metadata.uid)
            if restored is not None:
                return Observed(restored=restored)
            models = await self.stores.checked(metadata.namespace, weights_store(self.generation, self.model))
            weights = weights_prefix(self.generation, self.model, models, digest)
            await ask(models, read_model, models, digest, weights)
            found = await Inputs(self.generation, clips, self.cache, self.stores).pinned(store)
        except InputUnusable as error:
            return Observed(problem=error.problem)
        except BrokenManifest as error:
            # Before a request is accepted the model may yet be resolved to what its folder holds now.
            fatal = self.generation.status.model_digest is not None or not isinstance(error, FolderChanged)
            return Observed(problem=Problem(broken_reason(error), str(error), fatal=fatal))
        except ObjectMissing as error:
            return Observed(problem=Problem("ModelMissing", str(error)))
        except StorageError as error:
            return Observed(problem=Problem(storage_reason(error), str(error)))
        return Observed(inputs=found)

    async def _inspect(self, attempt: int, files: Sequence[ReportedFile]) -> tuple[Inspection | None, Problem | None]:
        metadata = self.generation.metadata
        try:
            store = await self.stores.for_object(metadata.namespace, clip_store(self.generation, self.model))
            found = await ask(
                store,
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

    def known_model(self) -> Model | None:
        """The model according to the cache; sends no request."""
        return self._model()

    def _model(self) -> Model | None:
        if self.model is None:
            return None
        resolved = find_condition(self.model.status.conditions, "Resolved")
        why = resolved.message if resolved else "the model has not been reconciled yet"
        status = self.model.status
        return Model(status.given_digest, why, self.model.spec.artifact_store, status.given_folder)

    def _trouble(self, digest: str) -> ServerProblem | None:
        short = names.short_digest(digest)
        servers = [s for s in self.servers if s.short_digest == short and not s.terminating]
        if any(s.available for s in servers):
            return None
        return next((s.trouble for s in servers if s.trouble is not None), None)


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def servers_of(generation: VideoGeneration, cache: Cache) -> tuple[ServerPod, ...]:
    """All servers of a request's model, of any digest."""
    namespace, name = generation.metadata.namespace, generation.spec.model_ref.name
    model = cache.get(MODEL_KIND, namespace, name)
    uid = str(model["metadata"]["uid"]) if model else None
    return tuple(server_pod(pod) for pod in pods_of(namespace, name, uid, cache))
