"""The only way to the API server: plain JSON over kept-alive connections, a time-out on every request.

Every write asks the fence first (leader.py): a replica whose lease may have run out writes nothing, and no request
is allowed to last longer than the lease. What a write returned is shown to the overlay (cache.py) at once, so that
the next decision about an object never rests on something older than our own last word about it.
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
"""Objects of one page of a list: bounds the memory that one answer takes."""
WRITES_IN_FLIGHT = 32
"""Requests at a time, watches and the lease aside: below what API priority and fairness lets an account queue."""
THROTTLE_TRIES = 5
"""How often a request is sent when the API server says 429 with a time to wait."""
THROTTLE_MAX_SECONDS = 10.0
"""Longest single wait that is honoured within a request; beyond it the caller's backoff takes over."""

UNCHECKED = {"fieldValidation": "Ignore"}
"""Unknown fields would only be warned of, to nobody, and looking for them means decoding everything twice."""

Fence = Callable[[], float]
"""Seconds for which writing is still allowed; raises NotLeading when it is not."""


class Overlay(Protocol):
    """Sees what this process itself wrote."""

    def offer(self, obj: KubeObject) -> bool:
        """Take `obj` in if it is newer than what is known."""

    def discard(self, ref: Ref, uid: str) -> None:
        """The object with this uid is gone."""


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
        """All objects of a kind, in pages, and the resourceVersion from which a watch goes on.

        `selector` is of labels, `fields` of fields. Objects come without `managedFields`.

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
                # Most of an object, and read by nobody: thousands of them would be in memory at once.
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
            Unavailable: the connection broke or fell silent.
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
        """Make the object so by server-side apply; fields of ours that others changed are taken back.

        Raises:
            ApiError: the request failed.
        """
        metadata = manifest["metadata"]
        path = resource(manifest["kind"]).path(metadata["namespace"], metadata["name"])
        query = {"fieldManager": names.FIELD_MANAGER, "force": "true"}
        return self._seen(await self._write("PATCH", path, manifest, APPLY_PATCH, query))

    async def create(self, manifest: KubeObject) -> tuple[dict[str, Any], bool]:
        """Make the object if there is none; the object as it is, and whether this call made it.

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
        """Merge patch, only onto exactly that version of the object, or onto that very object if there is none.

        Raises:
            Conflict: the object has moved on.
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
            Conflict: the object has moved on.
            ApiError: the request failed.
        """
        return await self.patch(
            ref, {"status": status}, resource_version, subresource="status", manager=names.STATUS_FIELD_MANAGER
        )

    async def delete(self, ref: Ref, *, grace_seconds: int | None = None) -> bool:
        """Delete the object (only the one with `ref.uid`, if given) and in the background what it owns.

        Returns whether it was there. A name that by now belongs to another object counts as gone.

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
        """Make the object, whatever its name is to be (`generateName`).

        Raises:
            AlreadyExists: there is one of that name.
            ApiError: the request failed.
        """
        path = resource(manifest["kind"]).path(manifest["metadata"]["namespace"])
        return await self._write("POST", path, manifest, JSON, {"fieldManager": names.FIELD_MANAGER})

    async def review(self, manifest: KubeObject) -> dict[str, Any]:
        """Ask the API server to judge (TokenReview, SubjectAccessReview); nothing is stored, so standbys may ask too.

        Raises:
            ApiError: the request failed.
        """
        return await self._call("POST", resource(manifest["kind"]).path(), manifest)

    # The lease: outside the fence, since it makes it, and outside the slots, since it must never wait

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
        """Make the Lease, or replace exactly the version that `lease` was made from.

        Raises:
            Conflict: another replica was quicker.
            AlreadyExists: another replica was quicker.
            ApiError: the request failed.
        """
        metadata = lease["metadata"]
        fresh = "resourceVersion" not in metadata
        path = resource("Lease").path(metadata["namespace"], None if fresh else metadata["name"])
        return await self._send("POST" if fresh else "PUT", path, lease, seconds=seconds)

    # Underneath

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
                # Asked after the slot was had: waiting for it may have outlasted the lease.
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
