"""VideoModel's controller: joins observation and plan, and knows which changes concern which model."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from kinema_api import generation, names, serving, training
from kinema_api.serving import VideoModel
from kinema_operator.core.controller import Cache
from kinema_operator.core.plan import Effect, Key, KubeObject, Plan
from kinema_operator.core.settings import Settings
from kinema_operator.dispatch.order_keys import OrderKeys
from kinema_operator.serving.folders import Folders
from kinema_operator.serving.observe import observe
from kinema_operator.serving.observed import Observed
from kinema_operator.serving.plan import plan
from kinema_operator.shell.storage import StoreSource


class ModelController:
    """Serves models."""

    kind: Final = serving.KIND

    def __init__(self, settings: Settings, client: object, stores: StoreSource, keys: OrderKeys | None = None) -> None:
        self._keys = keys
        self._settings = settings
        self._stores = stores
        # Models by the training that they follow. Filled by the first reconcile of each model; only saves latency.
        self._follows: dict[Key, str] = {}
        self._folders = Folders()

    def keys_for(self, obj: KubeObject) -> Iterable[Key]:
        """The model itself, its servers, its requests, and the training that it follows."""
        metadata = obj["metadata"]
        namespace = metadata["namespace"]
        model: str | None = None
        if obj["kind"] == serving.KIND:
            model = metadata["name"]
        elif obj["kind"] == generation.KIND:
            model = ((obj.get("spec") or {}).get("modelRef") or {}).get("name")
        elif obj["kind"] == training.KIND:
            return [k for k, name in self._follows.items() if (k.namespace, name) == (namespace, metadata["name"])]
        elif obj["kind"] in ("Pod", "Deployment", "Service", "NetworkPolicy"):
            model = (metadata.get("labels") or {}).get(names.LABEL_MODEL)
        return [Key(serving.KIND, namespace, model)] if model else []

    def parse(self, obj: KubeObject) -> VideoModel:
        """See `VideoModel.parse`."""
        return VideoModel.parse(obj)

    async def observe(self, key: Key, resource: VideoModel, cache: Cache) -> Observed:
        """See serving.observe."""
        self._follow(key, resource.spec.source.training)
        order_key = await self._keys.public() if self._keys else ""
        return await observe(resource, cache, self._stores, self._folders, self._settings, order_key)

    def plan(self, resource: VideoModel, observed: Observed, now: datetime) -> Plan:
        """See serving.plan."""
        return plan(resource, observed, self._settings, now)

    async def perform(self, key: Key, resource: VideoModel, effect: Effect) -> None:
        """A model has no effects outside the API server."""
        raise TypeError(f"unknown effect {type(effect).__name__} of a model; report this as a bug")

    async def close(self) -> None:
        """Nothing to close."""

    def _follow(self, key: Key, source: str | None) -> None:
        if source is None:
            self._follows.pop(key, None)
        else:
            self._follows[key] = source
