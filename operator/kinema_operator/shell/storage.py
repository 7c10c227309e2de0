"""The object stores that specs name, opened with their Secrets, and short-lived credentials for a training's pods.

The keys in a Secret stay in this process if the store issues others by STS AssumeRole, with an inline policy that is
limited to a training's prefixes and does not allow deletion. The administrator decides which stores specs may name.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Protocol

from pydantic import ValidationError

from kinema_api.base import ArtifactStore
from kinema_api.errors import StorageDenied, StorageError, StorageUnreachable, StsMissing
from kinema_api.objectstore import ObjectStore, StoreCredentials
from kinema_api.objectstores import open_store
from kinema_api.storehttp import StoreHttp
from kinema_operator.core.egress import StoreNotAllowed, require_allowed
from kinema_operator.core.settings import Settings
from kinema_operator.core.stores import store_location
from kinema_operator.shell.fenced import FencedStore
from kinema_operator.shell.secrets import (
    SecretMissing,
    SecretReader,
    api_key,
    store_keys,
)
from kinema_operator.shell.store_limits import LINE_SECONDS, OWN_SLOTS, TENANT_SLOTS, StoreLimit, ask
from kinema_operator.shell.sts import MAX_POLICY_BYTES, Prefixes, assume_role, scoped_policy

__all__ = [
    "MAX_POLICY_BYTES",
    "SecretMissing",
    "SecretReader",
    "StoreNotAllowed",
    "StoreSource",
    "Stores",
    "scoped_policy",
]

SECRET_TTL_SECONDS: Final = 60.0
"""A Secret that a spec names is read again after this long, since its keys may change."""
CHECK_TTL_SECONDS: Final = 5.0
"""A usable store is not checked again within this time."""
STS_CONNECTIONS: Final = 16
"""Connections kept to each store, so that a burst of calls does not open one for each."""
WITHOUT_STS_SECONDS: Final = 600.0
"""A store without STS is not asked for it again within this time."""
MAX_OPENED: Final = 256
"""Most open stores; beyond it the least recently used ones are closed."""


class StoreSource(Protocol):
    """The object stores that specs name, opened with their Secrets."""

    async def for_object(self, namespace: str, artifact_store: ArtifactStore | None) -> ObjectStore:
        """The store of an object, or the operator's own; raises StorageError."""

    async def checked(self, namespace: str, artifact_store: ArtifactStore | None) -> ObjectStore:
        """Like `for_object`, after checking that the bucket is usable; raises StorageError."""


Scope = tuple[str, ArtifactStore | None]
"""Namespace and store of a spec; ("", None) is the operator's own store."""


@dataclass
class _Finding:
    """The result of a store's last check. Times are seconds of the monotonic clock."""

    at: float = float("-inf")
    error: StorageError | None = None
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)
    without_sts: str = ""
    without_sts_until: float = float("-inf")


@dataclass(frozen=True)
class _Opened:
    store: ObjectStore
    keys: StoreCredentials | Path | None
    http: StoreHttp
    read_at: float
    """Seconds of the monotonic clock."""
    finding: _Finding = field(default_factory=_Finding)


class Stores:
    """All stores in use, opened once per location and keys."""

    def __init__(self, settings: Settings, client: SecretReader) -> None:
        self._settings = settings
        self._client = client
        self._fence = lambda: fence() if (fence := getattr(client, "fence", None)) else None
        self._opened: dict[Scope, _Opened] = {}
        self._call_limits: dict[tuple[str, str], StoreLimit] = {}

    async def for_object(self, namespace: str, artifact_store: ArtifactStore | None) -> ObjectStore:
        """The store that a spec names, or the operator's own. Sends no request to the store.

        Raises:
            SecretMissing: the Secret does not exist or lacks a key; it may yet appear.
            StorageDenied: the operator has neither a default store nor keys to it.
        """
        return (await self._open(namespace, artifact_store)).store

    async def checked(self, namespace: str, artifact_store: ArtifactStore | None) -> ObjectStore:
        """Like `for_object`, and the bucket was usable within the last CHECK_TTL_SECONDS.

        Raises:
            StorageError: the store cannot be used now.
        """
        opened = await self._open(namespace, artifact_store)
        found = opened.finding
        # One check at a time per store, whose result serves all resources that start at once.
        await _turn(found.asking, opened.store.location.endpoint)
        try:
            if time.monotonic() - found.at >= CHECK_TTL_SECONDS:
                found.error = None
                try:
                    await ask(opened.store, opened.store.check)
                except StorageError as error:
                    found.error = error
                found.at = time.monotonic()
        finally:
            found.asking.release()
        if found.error is not None:
            raise type(found.error)(str(found.error))
        return opened.store

    async def api_key(self, namespace: str, name: str) -> str:
        """The key of a captioning endpoint that a spec names. Raises as `secrets.api_key` does."""
        return await api_key(self._client, namespace, name)

    async def scoped_credentials(self, store: ObjectStore, scope: Prefixes, seconds: int) -> StoreCredentials:
        """Keys that allow what `scope` says for `seconds` (900 at least), and cannot delete.

        Raises:
            StorageDenied: the store's keys may not assume a role, or there is no STS.
            StorageUnreachable: the store does not respond.
        """
        opened = next((entry for entry in self._opened.values() if entry.store is store), None)
        if opened is None or opened.keys is None:
            raise StorageDenied(f"{store.location.endpoint} has no credentials to derive others from; use an S3 store")
        keys = await asyncio.to_thread(_read_keys, opened.keys)
        policy = scoped_policy(store.location.bucket, scope)
        found = opened.finding
        if time.monotonic() >= found.without_sts_until:
            try:
                issued = await ask(store, assume_role, opened.http, store.location, keys, policy, seconds)
            except StsMissing as error:
                found.without_sts, found.without_sts_until = str(error), time.monotonic() + WITHOUT_STS_SECONDS
            else:
                found.without_sts = ""
                return issued
        if isinstance(opened.keys, Path):
            # The operator's keys give access to every namespace's artefacts: no pod gets them.
            raise StsMissing(found.without_sts)
        return keys.model_copy(update={"expires": time.time() + seconds})

    def shares_keys(self, namespace: str, artifact_store: ArtifactStore | None) -> bool:
        """Whether this store issues no scoped keys, so that pods get those of the spec's Secret."""
        opened = self._opened.get(_scope(namespace, artifact_store))
        return bool(opened and artifact_store and opened.finding.without_sts)

    async def _open(self, namespace: str, artifact_store: ArtifactStore | None) -> _Opened:
        scope = _scope(namespace, artifact_store)
        found = self._opened.get(scope)
        if found and (artifact_store is None or time.monotonic() - found.read_at < SECRET_TTL_SECONDS):
            return found
        if artifact_store:
            require_allowed(artifact_store.endpoint, self._settings.store_endpoint, self._settings.allowed_stores)
        location = store_location(artifact_store, self._settings)
        keys: StoreCredentials | Path | None = self._settings.store_credentials_file
        if artifact_store:
            keys = await store_keys(self._client, namespace, artifact_store.secret_ref.name)
        if found and found.keys == keys:
            # With the same keys, keep the connections and the result of the check.
            opened = replace(found, read_at=time.monotonic())
        else:
            store = FencedStore(open_store(location, keys), self._fence)
            store.call_limit = self._call_limit(scope[0], location.endpoint)
            opened = _Opened(store, keys, StoreHttp(STS_CONNECTIONS, location.ca_bundle), time.monotonic())
        self._opened[scope] = opened
        self._prune()
        return opened

    def _call_limit(self, namespace: str, endpoint: str) -> StoreLimit:
        slots = TENANT_SLOTS if namespace else OWN_SLOTS
        return self._call_limits.setdefault((namespace, endpoint), StoreLimit(endpoint, slots))

    def _prune(self) -> None:
        """Close stores that were not used recently: specs may name any number of them."""
        if len(self._opened) <= MAX_OPENED:
            return
        old = time.monotonic() - 2 * SECRET_TTL_SECONDS
        self._opened = {scope: opened for scope, opened in self._opened.items() if opened.read_at > old or not scope[0]}
        known = {(scope[0], opened.store.location.endpoint) for scope, opened in self._opened.items()}
        self._call_limits = {
            at: call_limit for at, call_limit in self._call_limits.items() if at in known or not call_limit.idle
        }


async def _turn(asking: asyncio.Lock, endpoint: str) -> None:
    """Acquire the lock within LINE_SECONDS, so that reconciles do not wait for an unresponsive store."""
    try:
        async with asyncio.timeout(LINE_SECONDS):
            await asking.acquire()
    except TimeoutError:
        raise StorageUnreachable(
            f"object store {endpoint} has not responded to other requests for {LINE_SECONDS:.0f} s; "
            "the operator retries soon: check that it runs and is not overloaded"
        ) from None


def _scope(namespace: str, artifact_store: ArtifactStore | None) -> Scope:
    return (namespace if artifact_store else "", artifact_store)


def _read_keys(keys: StoreCredentials | Path) -> StoreCredentials:
    if isinstance(keys, StoreCredentials):
        return keys
    try:
        return StoreCredentials.model_validate_json(keys.read_bytes())
    except (OSError, ValidationError) as error:
        raise StorageDenied(
            f"cannot read storage credentials from {keys} ({type(error).__name__}); check the mounted Secret"
        ) from None
