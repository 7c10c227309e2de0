"""HTTP to the servers (wire contract: kinema_api.wire). Errors are returned, not raised.

A work order contains presigned URLs, so orders and bodies of responses are never logged.
"""

from __future__ import annotations

import errno
import math
import time
from http import HTTPStatus
from typing import Final

import aiohttp
from pydantic import ValidationError

from kinema_api import names
from kinema_api.base import ApiModel
from kinema_api.errors import UnsafeName
from kinema_api.wire import OrderState, Sentence, ServerState, WorkOrder
from kinema_operator.dispatch.order_keys import OrderKeys
from kinema_operator.generation.observed import Answer, NoResponse, OrderRefusal, Unknown, Unreadable
from kinema_operator.shell import pod_http

SILENT_FOR_SECONDS: Final = 10.0
"""Time for which a server that did not respond is asked last."""
MAX_ANSWER_BYTES: Final = 1 << 16
"""Longest response that is read: servers are not trusted."""

_LONGEST_WORDS: Final = 300
_CONNECT_SHARE: Final = 0.6
"""Share of a request's time-out for connecting, to distinguish a lost node from a stuck process."""
_ACCEPTED: Final = frozenset({HTTPStatus.OK, HTTPStatus.ACCEPTED})


class _Error(ApiModel):
    error: Sentence


class ServerClient:
    """Sends requests to servers by pod IP; used within one event loop."""

    def __init__(self, timeout_seconds: float, port: int = names.SERVER_PORT, keys: OrderKeys | None = None) -> None:
        """`keys`: sign requests; without them requests are unsigned."""
        self._keys = keys
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds, sock_connect=_CONNECT_SHARE * timeout_seconds)
        self._silence = f"no response within {timeout_seconds:g} s"
        self._port = port
        self._session: aiohttp.ClientSession | None = None
        self._silent: dict[str, float] = {}
        self._stopping: dict[tuple[str, str], float] = {}

    def silent_lately(self, address: str | None) -> bool:
        """Whether the server did not respond recently, so that others are asked first."""
        return address is not None and self._silent.get(address, -math.inf) + SILENT_FOR_SECONDS > time.monotonic()

    def stopping_seconds(self, address: str | None, uid: str | None) -> float:
        """Seconds since the server was first asked to stop an order that it still has."""
        since = self._stopping.get((address or "", uid or ""))
        return 0.0 if since is None else time.monotonic() - since

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def order(self, address: str, uid: str, pod_uid: str = "") -> Answer:
        """The state of an order on the server in the pod `pod_uid`."""
        try:
            status, body = await self._request("GET", address, _order_path(uid), pod_uid, uid=uid)
        except aiohttp.ClientPayloadError as error:
            return Unreadable(f"an unreadable response ({error})"[:_LONGEST_WORDS])
        except (aiohttp.ClientError, TimeoutError, OSError, UnsafeName) as error:
            return NoResponse(self._silence, unreachable=_unreachable(error))
        if status == HTTPStatus.NOT_FOUND:
            return Unknown()
        if status != HTTPStatus.OK:
            return NoResponse(f"an unexpected response (status {status})")
        try:
            return OrderState.model_validate_json(body)
        except ValidationError as error:
            first = error.errors(include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "the whole"
            return Unreadable(f"an unreadable response ({where}: {first['msg']})"[:_LONGEST_WORDS])

    async def server(self, address: str, pod_uid: str = "") -> ServerState | None:
        """The server's current order and model, or None if it does not respond."""
        try:
            status, body = await self._request("GET", address, "/v1/server", pod_uid)
            state = ServerState.model_validate_json(body) if status == HTTPStatus.OK else None
        except (aiohttp.ClientError, TimeoutError, OSError, UnsafeName, ValidationError):
            state = None
        if state is None:
            self._silent[address] = time.monotonic()
        else:
            self._silent.pop(address, None)
            for key in [key for key in self._stopping if key[0] == address and key[1] != state.order]:
                del self._stopping[key]
        return state

    async def send(self, address: str, order: WorkOrder, pod_uid: str = "") -> OrderRefusal | None:
        """Send an order; None if it was accepted, or if the result is unknown until `order` is called."""
        try:
            body = order.model_dump_json(by_alias=True, exclude_none=True).encode()
            status, answer = await self._request(
                "POST", address, "/v1/orders", pod_uid, body, uid=order.uid, attempt=order.attempt
            )
        except (aiohttp.ClientError, TimeoutError, OSError, UnsafeName):
            return None
        if status in _ACCEPTED:
            return None
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            return OrderRefusal("busy", _sentence(answer, "the server is busy with another request"))
        if status == HTTPStatus.CONFLICT:
            return OrderRefusal("outdated", _sentence(answer, "the server has a later attempt"))
        if status == HTTPStatus.UNPROCESSABLE_ENTITY:
            return OrderRefusal("unfit", _sentence(answer, "the server cannot parse the order"))
        if status == HTTPStatus.BAD_REQUEST:
            return OrderRefusal("never", _sentence(answer, "the server refuses the request without a reason"))
        return None

    async def cancel(self, address: str, uid: str, pod_uid: str = "") -> None:
        """Ask the server to stop an order; `order` shows whether it has."""
        self._stopping.setdefault((address, uid), time.monotonic())
        try:
            await self._request("DELETE", address, _order_path(uid), pod_uid, uid=uid)
        except (aiohttp.ClientError, TimeoutError, OSError, UnsafeName):
            return

    async def _request(
        self,
        method: str,
        address: str,
        path: str,
        pod_uid: str,
        body: bytes | None = None,
        *,
        uid: str = "",
        attempt: int = 0,
    ) -> tuple[int, bytes]:
        if self._session is None:
            self._session = pod_http.session(self._timeout)
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if self._keys is not None:
            headers |= (await self._keys.signer()).headers(pod_uid, method, path, body or b"", uid, attempt)
        async with self._session.request(
            method, names.pod_origin(address, self._port) + path, data=body, headers=headers, allow_redirects=False
        ) as response:
            return response.status, await pod_http.whole(response, MAX_ANSWER_BYTES)


def _order_path(uid: str) -> str:
    return f"/v1/orders/{names.path_segment(uid)}"


def _unreachable(error: Exception) -> bool:
    """Whether connections are neither accepted nor refused, as the kernel does even for a stuck process."""
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return True
    return isinstance(error, OSError) and error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH)


def _sentence(answer: bytes, otherwise: str) -> str:
    """The `error` of a server's answer."""
    try:
        return _Error.model_validate_json(answer).error or otherwise
    except ValidationError:
        return otherwise
