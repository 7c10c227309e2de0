"""Presigns URLs of a clip on request, valid for 15 minutes, for clients that may get its VideoGeneration.

Anyone who can read a status, or a backup of it, can open a presigned URL in it until it expires. Here the API server
authenticates the client (a TokenReview for a separate audience, so that the token is valid for nothing else) and
authorizes it (a SubjectAccessReview).

    GET /v1/namespaces/NAMESPACE/videogenerations/NAME/links
        Authorization: Bearer TOKEN, or Kinema-Authorization where a proxy keeps the former for itself, as that of the
        API server does
        -> {"video": {"url", "expires", "sha256", "bytes"}, "thumbnail": ..., "spritesheet": ...}

A request may wait for an upload (spec.input.upload). Clients that may create generations get a form that uploads a file
of the length in the spec to the request's folder. A file whose digest is not that of the spec is refused, and the
folder is deleted when the request has ended.

    POST /v1/namespaces/NAMESPACE/videogenerations/NAME/uploads/FIELD
        -> {"url", "fields": {...}, "expires"}
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

from aiohttp import web
from multidict import CIMultiDict

from kinema_api import generation, layout, links, names
from kinema_api.errors import InvalidManifest, StorageError
from kinema_api.generation import Artefact, VideoGeneration
from kinema_api.objectstore import ObjectStore
from kinema_operator.core.controller import Cache, Reader
from kinema_operator.core.errors import ApiError
from kinema_operator.core.plan import KubeObject
from kinema_operator.dispatch.requests import TERMINAL
from kinema_operator.generation.inputs import uploads_of
from kinema_operator.generation.stores import clip_store, find_model
from kinema_operator.shell.access import Access
from kinema_operator.shell.storage import StoreSource

AUDIENCE: Final = links.AUDIENCE
LINK_SECONDS: Final = 900
SERVICE_ACCOUNT_PREFIX: Final = "system:serviceaccount:"
TOKEN_HEADERS: Final = ("Authorization", links.PROXIED_HEADER)
PATH: Final = links.path("{namespace}", "{name}")
UPLOAD_PATH: Final = links.upload_path("{namespace}", "{name}", "{field:input|end|mask}")
Fit = Callable[[KubeObject | None], VideoGeneration | None]


class Links:
    """Serves a separate port, on every replica, since it writes nothing.

    `reader` is used if the cache has no clip: the cache of a standby may be older than what the client has seen.
    """

    def __init__(self, access: Access, cache: Cache, stores: StoreSource, reader: Reader | None = None) -> None:
        self._access = access
        self._cache = cache
        self._stores = stores
        self._reader = reader

    def routes(self) -> list[web.RouteDef]:
        """The routes."""
        return [web.get(PATH, self._answer), web.post(UPLOAD_PATH, self._upload)]

    async def _answer(self, request: web.Request) -> web.Response:
        return await self._signed(request, "get", _finished, _links, "has no clip; see its status")

    async def _upload(self, request: web.Request) -> web.Response:
        field = request.match_info["field"]
        none = f"does not wait for an upload of {field}; see its spec and status"
        return await self._signed(request, "create", partial(_waiting, field), partial(_form, field), none)

    async def _signed(
        self, request: web.Request, verb: str, fit: Fit, sign: Callable[[VideoGeneration, ObjectStore], Any], none: str
    ) -> web.Response:
        """The response of `sign` for a generation that is `fit`, once authorized; `none` is the error for others."""
        namespace, name = request.match_info["namespace"], request.match_info["name"]
        try:
            refused = await self._refused(request, verb, namespace, name)
            if refused is not None:
                return refused
            wanted = await self._fit(namespace, name, fit)
        except ApiError:
            return _sentence(503, "the API server cannot check this permission now; try again")
        if wanted is None:
            return _sentence(404, f"{namespace}/{name} {none}")
        try:
            store = await self._stores.for_object(namespace, clip_store(wanted, find_model(wanted, self._cache)))
            answer = sign(wanted, store)
        except StorageError as error:
            return _sentence(503, str(error))
        return web.json_response(answer, headers={"Cache-Control": "no-store"})

    async def _fit(self, namespace: str, name: str, fit: Fit) -> VideoGeneration | None:
        """The generation, if it is fit. Raises `ApiError`."""
        found = fit(self._cache.get(generation.KIND, namespace, name))
        if found is None and self._reader is not None:
            found = fit(await self._reader.get(generation.KIND, namespace, name))
        return found

    async def _refused(self, request: web.Request, verb: str, namespace: str, name: str) -> web.Response | None:
        tokens = {value for field in TOKEN_HEADERS for value in request.headers.getall(field, ())}
        if len(tokens) > 1:
            return _sentence(400, f"{' and '.join(TOKEN_HEADERS)} carry different tokens; send one of them")
        if tokens:
            request = request.clone(headers=CIMultiDict({"Authorization": tokens.pop()}))
        caller = await self._access.caller(request, AUDIENCE)
        if caller is None:
            return _sentence(
                401,
                f"a token for the audience {AUDIENCE} is needed: kubectl create token ACCOUNT --audience {AUDIENCE}",
            )
        attributes = {
            "group": names.GROUP,
            "resource": generation.PLURAL,
            "verb": verb,
            "namespace": namespace,
            "name": name,
        }
        if await self._access.may(caller, {"resourceAttributes": attributes}):
            return None
        denied = f"{caller.name} may not {verb} {generation.PLURAL} {name} in {namespace}"
        return _sentence(403, f"{denied}; allow it: {_allowing(caller.name, links.ROLES[verb], namespace)}")


def _allowing(caller: str, role: str, namespace: str) -> str:
    """The command that gives the caller the permission."""
    account = caller.removeprefix(SERVICE_ACCOUNT_PREFIX)
    known = account != caller
    name = f"{role}-{account.rpartition(':')[2]}" if known else role
    subject = f"--serviceaccount={account}" if known else f"--user={caller}"
    words = ("kubectl", "create", "rolebinding", name, "-n", namespace, f"--clusterrole={role}", subject)
    return shlex.join(words)


def _readable(found: KubeObject | None) -> VideoGeneration | None:
    """The generation; None if it does not exist or cannot be parsed."""
    try:
        return VideoGeneration.parse(found) if found else None
    except InvalidManifest:
        return None


def _finished(found: KubeObject | None) -> VideoGeneration | None:
    """The generation if it has a clip."""
    wanted = _readable(found)
    return wanted if wanted is not None and wanted.status.video is not None else None


def _waiting(field: str, found: KubeObject | None) -> VideoGeneration | None:
    """The generation if it waits for this upload."""
    wanted = _readable(found)
    if wanted is None or wanted.status.phase in TERMINAL or any(taken.name == field for taken in wanted.status.inputs):
        return None
    return wanted if field in uploads_of(wanted.spec) else None


def _form(field: str, wanted: VideoGeneration, store: ObjectStore) -> dict[str, Any]:
    life = timedelta(seconds=LINK_SECONDS)
    key = layout.generation_uploads_prefix(wanted.metadata.namespace, wanted.metadata.uid) + field
    form = store.presign_upload(key, life, uploads_of(wanted.spec)[field].bytes)
    return {"url": form.url, "fields": dict(form.fields), "expires": _in(life)}


def _in(life: timedelta) -> str:
    return (datetime.now(UTC) + life).strftime("%Y-%m-%dT%H:%M:%SZ")


def _links(wanted: VideoGeneration, store: ObjectStore) -> dict[str, Any]:
    metadata, status = wanted.metadata, wanted.status
    life = timedelta(seconds=LINK_SECONDS)
    expires = _in(life)
    folder = layout.generation_prefix(metadata.namespace, metadata.uid)
    files: dict[str, tuple[str, Artefact | None]] = {
        "video": (layout.VIDEO, status.video),
        "thumbnail": (layout.THUMBNAIL, status.thumbnail),
        "spritesheet": (layout.SPRITESHEET, status.spritesheet),
    }
    return {
        field: {
            "url": store.presign_get(folder + name, life, public=True),
            "expires": expires,
            "sha256": artefact.sha256,
            "bytes": artefact.bytes,
        }
        for field, (name, artefact) in files.items()
        if artefact is not None
    }


def _sentence(status: int, sentence: str) -> web.Response:
    return web.json_response({"error": sentence}, status=status, headers={"Cache-Control": "no-store"})
