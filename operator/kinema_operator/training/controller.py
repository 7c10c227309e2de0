"""VideoModelTraining's controller: joins observation, plan and effects, and knows which changes concern which one."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final, Protocol

from kinema_api import names, training
from kinema_api.errors import StorageError
from kinema_api.training import VideoModelTraining
from kinema_api.training_status import VideoModelTrainingStatus
from kinema_operator.core.conditions import PlanTime
from kinema_operator.core.controller import Cache
from kinema_operator.core.errors import AlreadyExists, Denied
from kinema_operator.core.plan import Effect, Key, KubeObject, Plan, Ref
from kinema_operator.core.resources import ref_to
from kinema_operator.core.settings import Settings
from kinema_operator.shell.storage import Stores
from kinema_operator.shell.writer import require_same_owner
from kinema_operator.training import effects, perform, shared
from kinema_operator.training.objects.secret import Holder
from kinema_operator.training.observe import Observer
from kinema_operator.training.observed import Observed
from kinema_operator.training.plan import decide
from kinema_operator.training.trainers import Trainers
from kinema_operator.training.view import View

log = logging.getLogger(__name__)


class ApiClient(Protocol):
    """The part of the API client that is needed here."""

    async def get(self, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        """One object by its name, or None."""

    async def post(self, manifest: KubeObject) -> dict[str, Any]:
        """Create the object."""

    async def apply(self, manifest: KubeObject) -> dict[str, Any]:
        """Server-side apply."""

    async def delete(self, ref: Ref) -> bool:
        """Delete the object; whether it was there."""

    async def patch(self, ref: Ref, body: KubeObject, resource_version: str | None) -> dict[str, Any]:
        """JSON merge patch; `resource_version` None: of any version."""


class TrainingController:
    """Runs trainings."""

    kind: Final = training.KIND

    def __init__(
        self, settings: Settings, client: ApiClient, stores: Stores, progress_port: int = names.PROGRESS_PORT
    ) -> None:
        self._settings = settings
        self._client = client
        self._stores = stores
        self._observer = Observer(settings, client, stores, Trainers(settings, progress_port))

    def keys_for(self, obj: KubeObject) -> Iterable[Key]:
        """The training itself, or the training that the object's label names."""
        metadata = obj["metadata"]
        if obj["kind"] == self.kind:
            return [Key(self.kind, metadata["namespace"], metadata["name"])]
        if obj["kind"] not in ("Job", "Pod", "Service", "NetworkPolicy"):
            return []
        if shared.is_shared(obj):
            # Shared objects belong to no training: the next reconcile of any training creates a missing one again.
            return [Key(self.kind, metadata["namespace"], "")]
        name = (metadata.get("labels") or {}).get(names.LABEL_TRAINING)
        return [Key(self.kind, metadata["namespace"], name)] if name else []

    def parse(self, obj: KubeObject) -> VideoModelTraining:
        """See `VideoModelTraining.parse`."""
        return VideoModelTraining.parse(obj)

    async def observe(self, key: Key, resource: VideoModelTraining, cache: Cache) -> Observed:
        """See training.observe."""
        return await self._observer.observe(resource, cache)

    def plan(self, resource: VideoModelTraining, observed: Observed, now: datetime) -> Plan:
        """See training.plan."""
        return self._tell_scope(resource, decide(View(resource, observed, self._settings, now)), now)

    def _tell_scope(self, found: VideoModelTraining, plan: Plan, now: datetime) -> Plan:
        """`plan` with a condition if the trainers' keys are not scoped to the training's prefix."""
        own = found.spec.artifact_store
        if own is None or not isinstance(plan.status, VideoModelTrainingStatus):
            return plan
        if not self._stores.shares_keys(found.metadata.namespace, own):
            return plan
        conditions = PlanTime(now, found.metadata.generation).mark(
            plan.status.conditions,
            "StorageScoped",
            False,
            "StoreWithoutSts",
            "the store has no AssumeRole, so trainers hold the keys of the Secret in the spec with all of their "
            "permissions: use a store with STS, or keys that open this bucket alone",
        )
        return dataclasses.replace(plan, status=plan.status.model_copy(update={"conditions": conditions}))

    async def perform(self, key: Key, resource: VideoModelTraining, effect: Effect) -> None:
        """Carry out an effect.

        Raises:
            StorageError: the store cannot be used now.
        """
        match effect:
            case effects.IssueCredentials():
                try:
                    secret, expires = await perform.credentials_secret(resource, effect, self._stores, self._settings)
                except StorageError as error:
                    self._observer.remember_refusal(resource, error)
                    raise
                await self._put(secret)
                self._observer.remember_credentials(resource, expires, Holder(effect.publishes, effect.prepares))
            case effects.RememberArtifacts():
                await self._remember(key, resource, effect)
            case effects.SetFinalizer():
                await self._set_finalizer(key, effect.wanted)
            case effects.DeleteArtifacts():
                store = await self._stores.for_object(resource.metadata.namespace, resource.spec.artifact_store)
                try:
                    await perform.delete_artifacts(store, effect)
                except StorageError as error:
                    self._observer.remember_refusal(resource, error)
            case effects.CleanAttempts():
                store = await self._stores.for_object(resource.metadata.namespace, resource.spec.artifact_store)
                if await perform.clean(store, effect):
                    self._observer.remember_cleaned(resource)
            case effects.PruneCheckpoints():
                store = await self._stores.for_object(resource.metadata.namespace, resource.spec.artifact_store)
                await perform.prune(store, effect)
            case effects.CloseAttempt():
                store = await self._stores.for_object(resource.metadata.namespace, resource.spec.artifact_store)
                await perform.close_attempt(store, effect, self._settings)
            case _:
                raise TypeError(f"unknown effect {type(effect).__name__} of a training; report this as a bug")

    async def gone(self, key: Key, cache: Cache) -> None:
        """Delete the shared objects with the last training of a namespace."""
        for ref in shared.needless(cache, key.namespace):
            try:
                await self._client.delete(ref)
            except Denied as error:
                log.warning("Cannot delete unused %s %s: %s", ref.kind, ref.name, error)

    async def close(self) -> None:
        """Nothing to close."""

    async def _remember(self, key: Key, found: VideoModelTraining, effect: effects.RememberArtifacts) -> None:
        body = {"metadata": {"annotations": {names.ANNOTATION_ARTIFACTS: str(effect.record)}}}
        this = Ref(names.API_VERSION, key.kind, key.namespace, key.name, found.metadata.uid)
        try:
            await self._client.patch(this, body, None)
        except Denied as error:
            # Only needed after a restore, so a failure is not fatal.
            log.warning("Cannot record the location of artefacts: %s", error)

    async def _set_finalizer(self, key: Key, wanted: bool) -> None:
        live = await self._client.get(key.kind, key.namespace, key.name)
        if live is None:
            return
        others = [name for name in live["metadata"].get("finalizers") or () if name != names.FINALIZER]
        body = {"metadata": {"finalizers": [*others, names.FINALIZER] if wanted else others}}
        await self._client.patch(ref_to(live), body, live["metadata"]["resourceVersion"])

    async def _put(self, secret: KubeObject) -> None:
        """Try POST first: it costs the API server half of an apply, and most Secrets are new."""
        try:
            await self._client.post(secret)
        except AlreadyExists:
            await self._require_own(secret)
            await self._client.apply(secret)

    async def _require_own(self, secret: KubeObject) -> None:
        metadata = secret["metadata"]
        try:
            live = await self._client.get("Secret", metadata["namespace"], metadata["name"])
        except Denied:
            return  # the admission policy of the chart refuses changes to Secrets that Kinema did not make
        if live is not None:
            require_same_owner(live, secret)
