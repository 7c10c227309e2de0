"""Signs an address of a clip for whoever may read its VideoGeneration, when they ask, for a quarter of an hour.

An address in a status opens for everybody who may read the status, for as long as it lives, and is kept in every copy
and backup of it. Here the API server says who asks (a TokenReview for an audience of its own, so that a token for this
opens nothing else) and whether they may (a SubjectAccessReview).

    GET /v1/namespaces/NAMESPACE/videogenerations/NAME/links
        Authorization: Bearer TOKEN, or Kinema-Authorization where a proxy keeps the former for itself
        -> {"video": {"url", "expires", "sha256", "bytes"}, "thumbnail": ..., "spritesheet": ...}
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from aiohttp import web

from kinema_api import generation, layout, names
from kinema_api.errors import InvalidManifest, StorageError
from kinema_api.generation import Artefact, VideoGeneration
from kinema_api.objectstore import ObjectStore
from kinema_operator.access import Access
from kinema_operator.controller import Cache
from kinema_operator.errors import ApiError
from kinema_operator.generation.stores import clip_store, find_model
from kinema_operator.serving.observe import Stores

AUDIENCE: Final = f"{names.GROUP}/links"
"""Audience of the tokens that are taken: `kubectl create token ACCOUNT --audience kinema.dev/links`."""
LINK_SECONDS: Final = 900
PROXIED_HEADER: Final = "Kinema-Authorization"
PATH: Final = f"/v1/namespaces/{{namespace}}/{generation.PLURAL}/{{name}}/links"


class Links:
    """Answers on the operator's own port; every replica may, since nothing is written."""

    def __init__(self, access: Access, cache: Cache, stores: Stores) -> None:
        self._access = access
        self._cache = cache
        self._stores = stores

    def route(self) -> web.RouteDef:
        """Where it answers."""
        return web.get(PATH, self._answer)

    async def _answer(self, request: web.Request) -> web.Response:
        namespace, name = request.match_info["namespace"], request.match_info["name"]
        try:
            refused = await self._refused(request, namespace, name)
        except ApiError:
            return _sentence(503, "the API server cannot be asked whether this is allowed; try again")
        if refused is not None:
            return refused
        found = self._cache.get(generation.KIND, namespace, name)
        try:
            wanted = VideoGeneration.parse(found) if found else None
        except InvalidManifest:
            wanted = None
        if wanted is None or wanted.status.video is None:
            return _sentence(404, f"{namespace}/{name} has no clip (yet); see its status")
        try:
            store = await self._stores.for_object(namespace, clip_store(wanted, find_model(wanted, self._cache)))
        except StorageError as error:
            return _sentence(503, str(error))
        return web.json_response(_links(wanted, store), headers={"Cache-Control": "no-store"})

    async def _refused(self, request: web.Request, namespace: str, name: str) -> web.Response | None:
        if PROXIED_HEADER in request.headers:
            headers = request.headers.copy()
            headers["Authorization"] = headers.pop(PROXIED_HEADER)
            request = request.clone(headers=headers)
        caller = await self._access.caller(request, AUDIENCE)
        if caller is None:
            return _sentence(
                401,
                f"a token for the audience {AUDIENCE} is needed: kubectl create token ACCOUNT --audience {AUDIENCE}",
            )
        attributes = {
            "group": names.GROUP,
            "resource": generation.PLURAL,
            "verb": "get",
            "namespace": namespace,
            "name": name,
        }
        if await self._access.may(caller, {"resourceAttributes": attributes}):
            return None
        return _sentence(
            403, f"{caller.name} may not get {generation.PLURAL} {name} in {namespace}: ask for the role view"
        )


def _links(wanted: VideoGeneration, store: ObjectStore) -> dict[str, Any]:
    metadata, status = wanted.metadata, wanted.status
    life = timedelta(seconds=LINK_SECONDS)
    expires = (datetime.now(UTC) + life).strftime("%Y-%m-%dT%H:%M:%SZ")
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
