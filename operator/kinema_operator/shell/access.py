"""Authenticates and authorizes clients of the operator's HTTP endpoints through the API server.

A TokenReview checks the bearer token and a SubjectAccessReview the permission, as in kube-rbac-proxy. Results are
cached for a minute, so a scraper costs two requests a minute. Denials are not cached, so that a new permission works at
once.

Source: Kubernetes API reference, authentication.k8s.io/v1 and authorization.k8s.io/v1.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol, runtime_checkable

from aiohttp import web
from aiohttp.typedefs import Handler

from kinema_operator.core.controller import Cache
from kinema_operator.core.errors import ApiError
from kinema_operator.shell.client import Client

REMEMBER_SECONDS: Final = 60.0
MAX_REMEMBERED: Final = 1024
MAX_TOKEN_BYTES: Final = 16 * 1024
_BEARER: Final = "Bearer "


@dataclass(frozen=True)
class Caller:
    """A client whose token the API server accepts."""

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()


class Access:
    """Checks tokens and permissions. Used within one event loop."""

    def __init__(self, client: Client, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._clock = clock
        self._answers: dict[str, tuple[float, Any]] = {}

    async def caller(self, request: web.Request, audience: str | None = None) -> Caller | None:
        """The owner of the request's bearer token, if it is valid for `audience` (None: the API server); else None.

        Raises:
            ApiError: the API server is not available.
        """
        header = request.headers.get("Authorization", "")
        token = header.removeprefix(_BEARER).strip()
        if not header.startswith(_BEARER) or not 0 < len(token) <= MAX_TOKEN_BYTES:
            return None
        spec = {"token": token} | ({"audiences": [audience]} if audience else {})
        answer = await self._review("authentication.k8s.io/v1", "TokenReview", spec)
        user = answer.get("user") or {}
        right_audience = audience is None or audience in (answer.get("audiences") or ())
        if not answer.get("authenticated") or not right_audience or not user.get("username"):
            return None
        return Caller(user["username"], user.get("uid", ""), tuple(user.get("groups") or ()))

    async def may(self, caller: Caller, attributes: Mapping[str, Mapping[str, str]]) -> bool:
        """Whether the caller has a permission; `attributes` has `resourceAttributes` or `nonResourceAttributes`.

        Raises:
            ApiError: the API server is not available.
        """
        spec = {"user": caller.name, "uid": caller.uid, "groups": list(caller.groups), **attributes}
        answer = await self._review("authorization.k8s.io/v1", "SubjectAccessReview", spec)
        return answer.get("allowed") is True

    async def _review(self, api_version: str, kind: str, spec: Mapping[str, Any]) -> dict[str, Any]:
        # The key is a digest, so that no token stays in memory.
        key = hashlib.sha256(json.dumps([kind, spec], sort_keys=True).encode()).hexdigest()
        known = self._answers.get(key)
        if known and self._clock() - known[0] < REMEMBER_SECONDS:
            return dict(known[1])
        review = await self._client.review({"apiVersion": api_version, "kind": kind, "metadata": {}, "spec": spec})
        answer = dict(review.get("status") or {})
        if len(self._answers) >= MAX_REMEMBERED:
            self._answers.clear()
        if answer.get("allowed", True):
            self._answers[key] = (self._clock(), answer)
        return answer


def require_right(access: Access, path: str) -> Callable[[Handler], Handler]:
    """A decorator for handlers that requires `get` on the non-resource path `path`."""
    attributes = {"nonResourceAttributes": {"path": path, "verb": "get"}}

    def wrap(handler: Handler) -> Handler:
        async def guarded(request: web.Request) -> web.StreamResponse:
            try:
                caller = await access.caller(request)
                if caller is None:
                    return _refusal(401, "a bearer token of the cluster is needed: send one in Authorization")
                if not await access.may(caller, attributes):
                    return _refusal(403, f"get on the path {path} is not allowed: bind a ClusterRole that allows it")
            except ApiError:
                return _refusal(503, "the API server cannot check this permission now; try again")
            return await handler(request)

        return guarded

    return wrap


def _refusal(status: int, sentence: str) -> web.Response:
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    return web.Response(status=status, text=sentence + "\n", headers=headers)


@runtime_checkable
class HttpEndpoint(Protocol):
    """A controller that serves HTTP to clients."""

    def routes(self, access: Access, cache: Cache) -> list[web.RouteDef]:
        """Its routes; `access` authenticates and authorizes clients."""
