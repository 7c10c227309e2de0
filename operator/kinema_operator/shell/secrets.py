"""Reads the Secrets that specs name: keys of object stores, and keys of captioning endpoints.

A spec could name any Secret of its namespace, so only those count that carry the label of their kind. That is a check
of this code: RBAC cannot filter by label.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Protocol

from pydantic import Field, TypeAdapter

from kinema_api import names
from kinema_api.errors import StorageDenied, StorageError
from kinema_api.objectstore import StoreCredentials, StoreKey
from kinema_operator.core.errors import Denied
from kinema_operator.core.stores import SECRETS_ROLE

ACCESS_KEY: Final = "accessKey"
SECRET_KEY: Final = "secretKey"
API_KEY: Final = "apiKey"
_LONGEST_API_KEY: Final = 8192
_STORE_KEY: Final[TypeAdapter[str]] = TypeAdapter(StoreKey)
_ENDPOINT_KEY: Final[TypeAdapter[str]] = TypeAdapter(
    Annotated[str, Field(pattern=r"^[!-~]+$", max_length=_LONGEST_API_KEY)]
)


class SecretMissing(StorageError):
    """The Secret that a spec names does not exist or lacks a key. It may yet appear."""


class SecretNotMarked(StorageError):
    """The Secret that a spec names lacks the label of its kind, so it may be any Secret of the namespace."""


class SecretUnusable(StorageError):
    """The Secret that a spec names has an invalid key."""


class SecretReader(Protocol):
    """The part of the API client that is needed here."""

    async def get(self, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        """One object by its name, or None."""


@dataclass(frozen=True)
class _Sort:
    """A kind of Secret: its label, its keys and how both are told."""

    label: str
    keys: tuple[str, ...]
    told: str


_OF_STORES: Final = _Sort(names.LABEL_STORE_KEYS, (ACCESS_KEY, SECRET_KEY), "credentials of a store: if it has them")
_OF_ENDPOINTS: Final = _Sort(names.LABEL_API_KEY, (API_KEY,), "the key of an endpoint: if it has one")


async def store_keys(client: SecretReader, namespace: str, name: str) -> StoreCredentials:
    """The keys of an object store.

    Raises:
        SecretMissing: the Secret does not exist or lacks a key; it may yet appear.
        SecretNotMarked: it is not labelled as keys of a store.
        SecretUnusable: a key is no key.
        StorageDenied: the operator may not read it.
    """
    data = await _content(client, namespace, name, _OF_STORES)
    access, secret = (_valid(data, key, name, namespace, _STORE_KEY, 256) for key in _OF_STORES.keys)
    return StoreCredentials(access_key=access, secret_key=secret)


async def api_key(client: SecretReader, namespace: str, name: str) -> str:
    """The key of a captioning endpoint. Raises as `store_keys` does."""
    data = await _content(client, namespace, name, _OF_ENDPOINTS)
    return _valid(data, API_KEY, name, namespace, _ENDPOINT_KEY, _LONGEST_API_KEY)


async def _content(client: SecretReader, namespace: str, name: str, sort: _Sort) -> Mapping[str, str]:
    wanted = " and ".join(sort.keys)
    try:
        secret = await client.get("Secret", namespace, name)
    except Denied:
        raise StorageDenied(
            f"the operator may not read Secret {name!r} of namespace {namespace!r}: let an administrator bind "
            f"ClusterRole {SECRETS_ROLE} to the operator's service account in that namespace"
        ) from None
    if secret is None:
        noun = "keys" if len(sort.keys) > 1 else "key"
        raise SecretMissing(
            f"Secret {name!r} does not exist in namespace {namespace!r}: create it with the {noun} {wanted}"
        )
    if ((secret.get("metadata") or {}).get("labels") or {}).get(sort.label) != "true":
        raise SecretNotMarked(
            f"Secret {name!r} in namespace {namespace!r} is not labelled as {sort.told}, "
            f"kubectl label secret {name} -n {namespace} {sort.label}=true"
        )
    data: Mapping[str, str] = secret.get("data") or {}
    for key in sort.keys:
        if not data.get(key):
            raise SecretMissing(f"Secret {name!r} in namespace {namespace!r} lacks the key {key}: add it")
    return data


def _valid(data: Mapping[str, str], key: str, name: str, namespace: str, checks: TypeAdapter[str], longest: int) -> str:
    """A key of a Secret, which is sent in headers. Errors do not show it."""
    try:
        return checks.validate_python(base64.b64decode(data[key], validate=True).decode("ascii"))
    except ValueError:
        raise SecretUnusable(
            f"{key} in Secret {name!r} of namespace {namespace!r} is not a valid key: it has a line break, a space, "
            f"a byte that is not visible ASCII, or more than {longest} bytes; create the Secret again with "
            "--from-literal, or printf %s instead of echo"
        ) from None
