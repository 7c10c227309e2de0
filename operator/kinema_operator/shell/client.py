"""The client of the API server: plain JSON over persistent connections, with a time-out on every request.

Every write checks the fence first (leader.py): a replica whose lease may have expired writes nothing, and no request
lasts longer than the lease. The response to a write goes to the overlay (cache.py) at once, so that no decision is
based on a version older than the own last write.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Protocol
from urllib.parse import urlencode

import aiohttp
from yarl import URL

from kinema_api import names
from kinema_operator.core.errors import AlreadyExists, ApiError, NotFound, Throttled, Unavailable, WatchIdle, api_error
from kinema_operator.core.plan import KubeObject, Ref
from kinema_operator.core.resources import resource
from kinema_operator.shell.connection import Connection

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"

PAGE_SIZE = 500
"""Objects per page of a list: limits the memory for a response."""
WRITES_IN_FLIGHT = 32
"""Most requests at a time, except watches and the lease: below the queue limits of API Priority and Fairness."""
THROTTLE_TRIES = 5
"""Most tries of a request when the API server responds 429 with Retry-After."""
THROTTLE_MAX_SECONDS = 10.0
"""Longest Retry-After that is waited for; beyond it the caller's backoff applies."""

UNCHECKED = {"fieldValidation": "Ignore"}
"""Skip the check for unknown fields: nobody reads the warnings, and it decodes every object twice."""

Fence = Callable[[], float]
"""Seconds for which writes are still allowed; raises NotLeading if they are not."""


class Overlay(Protocol):
    """Receives this process's own writes."""

    def offer(self, obj: KubeObject) -> bool:
        """Add `obj` if it is newer than the known version."""

    def discard(self, ref: Ref, uid: str) -> None:
        """Remove the object with this UID."""


class Client:
    """Requests to one API server. Used within one event loop; `close` it at the end."""

    def __init__(self, connection: Connection, timeout_seconds: float, overlay: Overlay | None = None) -> None:
        self._connection = connection
        self._session = connection.session()
        self._timeout = timeout_seconds
        self._overlay = overlay
        self._slots = asyncio.Semaphore(WRITES_IN_FLIGHT)
        self.fence: Fence | None = None

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    # Reading

    async def get(self, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        """One object as the API server has it now, or None.

        Raises:
            ApiError: the request failed.
        """
        try:
            return await self._call("GET", resource(kind).path(namespace, name))
        except NotFound:
            return None

    async def list_all(
        self, kind: str, namespace: str | None = None, selector: str | None = None, fields: str | None = None
    ) -> tuple[list[dict[str, Any]], str]:
        """All objects of a kind, in pages, and the resourceVersion from which a watch continues.

        `selector` is a label selector, `fields` a field selector. Objects have no `managedFields`.

        Raises:
            Expired: the list took so long that its pages no longer fit together; list again.
            ApiError: the request failed.
        """
        items: list[dict[str, Any]] = []
        query = {"limit": str(PAGE_SIZE)} | ({"labelSelector": selector} if selector else {})
        query |= {"fieldSelector": fields} if fields else {}
        while True:
            page = await self._call("GET", resource(kind).path(namespace), query=query)
            for item in page.get("items") or ():
                # managedFields are unused and most of an object: do not keep thousands of them in memory.
                item["metadata"].pop("managedFields", None)
                items.append(item)
            metadata = page.get("metadata", {})
            if not metadata.get("continue"):
                return items, metadata["resourceVersion"]
            query["continue"] = metadata["continue"]

    @asynccontextmanager
    async def watch(
        self, kind: str, namespace: str | None, query: dict[str, str], silence_seconds: float
    ) -> AsyncIterator[AsyncIterator[list[dict[str, Any]]]]:
        """Batches of watch events, until the server ends the stream or is silent for `silence_seconds`.

        Raises:
            Expired: the resourceVersion in `query` is too old.
            Unavailable: the connection broke or was idle for too long.
            ApiError: the watch was refused.
        """
        path = resource(kind).path(namespace)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._timeout, sock_read=silence_seconds)
        try:
            async with self._session.get(
                self._url(path, query | {"watch": "1", "allowWatchBookmarks": "true"}),
                allow_redirects=False,
                headers=await self._connection.headers(),
                timeout=timeout,
            ) as response:
                if response.status != 200:
                    raise api_error(f"WATCH {path}", response.status, await _answer(response))
                yield _batches(response)
        except aiohttp.SocketTimeoutError as error:
            raise WatchIdle(f"WATCH {path}", _words(error)) from None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unavailable(f"WATCH {path}", _words(error)) from None

    # Writing

    async def apply(self, manifest: KubeObject) -> dict[str, Any]:
        """Server-side apply; overwrites our fields if others have changed them.

        Raises:
            ApiError: the request failed.
        """
        metadata = manifest["metadata"]
        path = resource(manifest["kind"]).path(metadata["namespace"], metadata["name"])
        query = {"fieldManager": names.FIELD_MANAGER, "force": "true"}
        return self._seen(await self._write("PATCH", path, manifest, APPLY_PATCH, query))

    async def create(self, manifest: KubeObject) -> tuple[dict[str, Any], bool]:
        """Create the object if it does not exist; returns it, and whether this call created it.

        Raises:
            ApiError: the request failed.
        """
        metadata = manifest["metadata"]
        kind = manifest["kind"]
        query = {"fieldManager": names.FIELD_MANAGER}
        try:
            made = await self._write("POST", resource(kind).path(metadata["namespace"]), manifest, JSON, query)
            return self._seen(made), True
        except AlreadyExists:
            there = await self.get(kind, metadata["namespace"], metadata["name"])
            if there is None:
                raise
            return self._seen(there), False

    async def patch(
        self,
        ref: Ref,
        body: KubeObject,
        resource_version: str | None,
        *,
        subresource: str | None = None,
        strategic: bool = False,
        manager: str = names.FIELD_MANAGER,
    ) -> dict[str, Any]:
        """Merge patch of exactly that version of the object; with None, of any version with the same UID.

        Raises:
            Conflict: the object has changed.
            ApiError: the request failed.
        """
        guard: dict[str, Any] = {"resourceVersion": resource_version} if resource_version else {}
        if ref.uid:
            guard["uid"] = ref.uid
        guarded = {**body, "metadata": {**body.get("metadata", {}), **guard}}
        path = resource(ref.kind).path(ref.namespace, ref.name, subresource)
        content = STRATEGIC_PATCH if strategic else MERGE_PATCH
        return self._seen(await self._write("PATCH", path, guarded, content, {"fieldManager": manager}))

    async def patch_status(self, ref: Ref, status: KubeObject, resource_version: str) -> dict[str, Any]:
        """Merge `status` (nulls remove) into the status subresource of exactly that version.

        Raises:
            Conflict: the object has changed.
            ApiError: the request failed.
        """
        return await self.patch(
            ref, {"status": status}, resource_version, subresource="status", manager=names.STATUS_FIELD_MANAGER
        )

    async def delete(self, ref: Ref, *, grace_seconds: int | None = None) -> bool:
        """Delete the object (only the one with `ref.uid`, if given) and in the background what it owns.

        Returns whether it existed. If the name belongs to another object now, it counts as gone.

        Raises:
            ApiError: the request failed.
        """
        options: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        if ref.uid:
            options["preconditions"] = {"uid": ref.uid}
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        path = resource(ref.kind).path(ref.namespace, ref.name)
        try:
            answer = await self._write("DELETE", path, options, JSON, {})
        except NotFound:
            return False
        except ApiError as error:
            if error.status == 409 and ref.uid:
                return False
            raise
        self._deleted(ref, answer)
        return True

    async def post(self, manifest: KubeObject) -> dict[str, Any]:
        """Create the object; its name may be generated (`generateName`).

        Raises:
            AlreadyExists: an object of that name exists.
            ApiError: the request failed.
        """
        path = resource(manifest["kind"]).path(manifest["metadata"]["namespace"])
        return await self._write("POST", path, manifest, JSON, {"fieldManager": names.FIELD_MANAGER})

    async def review(self, manifest: KubeObject) -> dict[str, Any]:
        """Send a TokenReview or SubjectAccessReview. Nothing is stored, so standbys may do this too.

        Raises:
            ApiError: the request failed.
        """
        return await self._call("POST", resource(manifest["kind"]).path(), manifest)

    # The lease: not behind the fence, which depends on it, nor behind the request limit, since it must never wait

    async def get_lease(self, namespace: str, name: str, seconds: float) -> dict[str, Any] | None:
        """The Lease, or None.

        Raises:
            ApiError: the request failed.
        """
        try:
            return await self._send("GET", resource("Lease").path(namespace, name), seconds=seconds)
        except NotFound:
            return None

    async def put_lease(self, lease: KubeObject, seconds: float) -> dict[str, Any]:
        """Create the Lease, or replace exactly the version that `lease` was made from.

        Raises:
            Conflict: another replica was faster.
            AlreadyExists: another replica was faster.
            ApiError: the request failed.
        """
        metadata = lease["metadata"]
        fresh = "resourceVersion" not in metadata
        path = resource("Lease").path(metadata["namespace"], None if fresh else metadata["name"])
        return await self._send("POST" if fresh else "PUT", path, lease, seconds=seconds)

    # Internals

    def _url(self, path: str, query: Mapping[str, str] | None) -> URL:
        # Encoded already (resources.py): yarl would decode it, and collapse what looks like a relative path.
        text = self._connection.server + path
        return URL(f"{text}?{urlencode(query)}" if query else text, encoded=True)

    def _seen(self, obj: dict[str, Any]) -> dict[str, Any]:
        if self._overlay is not None:
            self._overlay.offer(obj)
        return obj

    def _deleted(self, ref: Ref, answer: dict[str, Any]) -> None:
        if self._overlay is None:
            return
        if answer.get("kind") == "Status":
            uid = ref.uid or (answer.get("details") or {}).get("uid")
            if uid:
                self._overlay.discard(ref, uid)
        else:
            self._overlay.offer(answer)

    async def _write(self, method: str, path: str, body: Any, content: str, query: dict[str, str]) -> dict[str, Any]:
        if method != "DELETE":
            query = query | UNCHECKED
        return await self._call(method, path, body, content=content, query=query, fenced=True)

    async def _call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content: str = JSON,
        query: dict[str, str] | None = None,
        fenced: bool = False,
    ) -> dict[str, Any]:
        wait = 0.0
        for left in reversed(range(THROTTLE_TRIES)):
            await asyncio.sleep(wait)
            async with self._slots:
                # Check the fence after waiting for a slot, since the lease may have expired meanwhile.
                allowed = self.fence() if fenced and self.fence else self._timeout
                try:
                    return await self._send(
                        method, path, body, content=content, query=query, seconds=min(self._timeout, allowed)
                    )
                except Throttled as error:
                    wait = error.retry_after
                    if left == 0 or not 0 < wait <= THROTTLE_MAX_SECONDS:
                        raise
        raise AssertionError("unreachable: the last try returns or raises")

    async def _send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content: str = JSON,
        query: dict[str, str] | None = None,
        seconds: float,
    ) -> dict[str, Any]:
        request = f"{method} {path}"
        headers = await self._connection.headers()
        data = None
        if body is not None:
            data = json.dumps(body, separators=(",", ":")).encode()
            headers["Content-Type"] = content
        try:
            async with self._session.request(
                method,
                self._url(path, query),
                allow_redirects=False,
                data=data,
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=seconds),
            ) as response:
                answer: dict[str, Any] = await _answer(response)
                if response.status < 300:
                    return answer
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unavailable(request, _words(error)) from None
        refused = api_error(request, response.status, answer)
        if isinstance(refused, Throttled):
            refused.retry_after = float(response.headers.get("Retry-After") or 1)
        raise refused


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__


async def _answer(response: aiohttp.ClientResponse) -> Any:
    raw = await response.read()
    try:
        return json.loads(raw)
    except ValueError:
        return raw.decode(errors="replace")


async def _batches(response: aiohttp.ClientResponse) -> AsyncIterator[list[dict[str, Any]]]:
    # Lines are split by hand: aiohttp's readline refuses lines longer than its buffer.
    rest = b""
    async for chunk in response.content.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        if lines:
            yield [json.loads(line) for line in lines if line]
