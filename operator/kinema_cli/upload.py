"""Uploads local files as inputs of a generation: the spec has their digests, the files go to the request's folder."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import urllib3

from kinema_api import generation
from kinema_api.errors import StorageError
from kinema_api.inputs import MAX_INPUT_BYTES
from kinema_api.storehttp import Budget, WatchedPools
from kinema_cli.download import ANSWER_SECONDS, CONNECT_SECONDS, READ_SECONDS, authorities
from kinema_cli.errors import BadManifest, ClusterUnreachable, CommandError
from kinema_cli.links import LinkOptions, upload_form

if TYPE_CHECKING:
    from kinema_cli.cluster import Cluster

FIELDS: Final = ("input", "end", "mask")
_TAKEN: Final = (200, 201, 204)


def is_file(named: str) -> bool:
    """Whether an argument is a local file rather than a generation or an object.

    A name with a slash or a dot cannot be a generation, so it is a file even if none exists.
    """
    return "://" not in named and ("/" in named or "." in named or Path(named).is_file())


def described(path: Path) -> dict[str, Any]:
    """The file's digest and size, for the spec.

    Raises:
        BadManifest: it is unreadable, empty, or too long.
    """
    data = _read(path)
    if not 0 < len(data) <= MAX_INPUT_BYTES:
        raise BadManifest(
            f"{path} has {len(data)} bytes, and 1 to {MAX_INPUT_BYTES} are allowed; pass an image or a short clip"
        )
    return {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}


def upload(cluster: Cluster, body: dict[str, Any], files: dict[str, Path], asking: LinkOptions) -> None:
    """Upload the files that a generation waits for, by the field of its spec; cancels the generation on failure.

    Raises:
        CommandError: an upload failed.
    """
    name = body["metadata"]["name"]
    try:
        for field, path in files.items():
            url, fields = upload_form(asking, cluster, name, field)
            _post(url, fields, path, authorities(asking, body))
    except CommandError as error:
        with contextlib.suppress(CommandError):
            cluster.patch(generation.PLURAL, name, {"spec": {"cancel": True}})
        error.args = (f"{error}. {name} is cancelled, since it would wait for the file; create another one",)
        raise


def _post(url: str, fields: dict[str, str], path: Path, ca_bundle: str | None) -> None:
    host, data = urlsplit(url).netloc, _read(path)
    form: dict[str, Any] = {**fields, "file": (path.name, data, "application/octet-stream")}
    timeout = urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS)
    try:
        pool = WatchedPools(ca_bundle, timeout=timeout, retries=False)
        with Budget(ANSWER_SECONDS) as budget:
            budget.extend(len(data))
            answer = pool.request("POST", url, fields=form, redirect=False, preload_content=False)
            answer.close()
    except (urllib3.exceptions.HTTPError, StorageError) as error:
        raise ClusterUnreachable(
            f"{host} does not accept {path} ({type(error).__name__}); check that the store's publicEndpoint is "
            "reachable from here, or name its CA certificate with --ca-file"
        ) from None
    if answer.status not in _TAKEN:
        raise CommandError(
            f"{host} refuses {path} (status {answer.status}); check that the file does not change meanwhile"
        )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadManifest(f"{path} cannot be read ({error.strerror}); name a file, or an object as s3://...") from None
