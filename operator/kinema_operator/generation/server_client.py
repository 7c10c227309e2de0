"""HTTP to the servers (wire contract: kinema_api.wire). Nothing here raises: silence is an answer too.

A work order holds presigned addresses, so neither an order nor an answer's body is ever logged.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

import aiohttp
from pydantic import ValidationError

from kinema_api import names
from kinema_api.base import ApiModel
from kinema_api.errors import UnsafeName
from kinema_api.wire import OrderState, ServerState, WorkOrder
from kinema_operator.generation.observed import Answer, Refusal, Silent, Unknown

MAX_ANSWER_BYTES: Final = 1 << 16
"""Longest answer that is read: a server may be taken over by a prompt and talk without end."""

_ACCEPTED: Final = frozenset({HTTPStatus.OK, HTTPStatus.ACCEPTED})


class _Error(ApiModel):
    error: str


class ServerClient:
    """Talks to servers by their pods' addresses; used within one event loop."""

    def __init__(self, timeout_seconds: float, port: int = names.SERVER_PORT) -> None:
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._silence = f"no answer within {timeout_seconds:g} s"
        self._port = port
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def order(self, address: str, uid: str) -> Answer:
        """What the server says about an order."""
        try:
            status, body = await self._request("GET", address, _order_path(uid))
        except (aiohttp.ClientError, TimeoutError, OSError, UnsafeName):
            return Silent(self._silence)
        if status == HTTPStatus.NOT_FOUND:
            return Unknown()
        try:
            return OrderState.model_validate_json(body) if status == HTTPStatus.OK else _unintelligible(status)
        except ValidationError:
            return _unintelligible(status)

    async def server(self, address: str) -> ServerState | None:
        """What the server has in hand, or None if it does not say."""
        try:
            status, body = await self._request("GET", address, "/v1/server")
            return ServerState.model_validate_json(body) if status == HTTPStatus.OK else None
        except (aiohttp.ClientError, TimeoutError, OSError, UnsafeName, ValidationError):
            return None

    async def send(self, address: str, order: WorkOrder) -> Refusal | None:
        """Give an order; None if it was taken, or if that is not known: the next question about it tells."""
        try:
            body = order.model_dump_json(by_alias=True, exclude_none=True).encode()
            status, answer = await self._request("POST", address, "/v1/orders", body)
        except (aiohttp.ClientError, TimeoutError, OSError, UnsafeName):
            return None
        if status in _ACCEPTED:
            return None
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            return Refusal("busy", _sentence(answer, "the server is busy with another request"))
        if status == HTTPStatus.CONFLICT:
            return Refusal("outdated", _sentence(answer, "the server knows a later attempt"))
        if status == HTTPStatus.BAD_REQUEST:
            return Refusal("never", _sentence(answer, "the server refuses the request without a reason"))
        return None

    async def cancel(self, address: str, uid: str) -> None:
        """Ask the server to stop an order; whether it has is seen by asking about it."""
        try:
            await self._request("DELETE", address, _order_path(uid))
        except (aiohttp.ClientError, TimeoutError, OSError, UnsafeName):
            return

    async def _request(self, method: str, address: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=self._timeout, trust_env=False)
        headers = {"Content-Type": "application/json"} if body is not None else {}
        async with self._session.request(
            method, names.pod_origin(address, self._port) + path, data=body, headers=headers, allow_redirects=False
        ) as response:
            return response.status, await _bounded(response)


def _order_path(uid: str) -> str:
    return f"/v1/orders/{names.path_segment(uid)}"


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    read = bytearray()
    async for chunk in response.content.iter_any():
        read += chunk
        if len(read) > MAX_ANSWER_BYTES:
            raise aiohttp.ClientPayloadError("the answer is too long")
    return bytes(read)


def _unintelligible(status: int) -> Silent:
    return Silent(f"an answer that is not understood (status {status})")


def _sentence(answer: bytes, otherwise: str) -> str:
    """The `error` of a server's answer."""
    try:
        return _Error.model_validate_json(answer).error
    except ValidationError:
        return otherwise
