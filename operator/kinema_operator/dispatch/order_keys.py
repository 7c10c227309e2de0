"""The key that signs orders to servers: a Secret in the operator's namespace, created if it does not exist.

Servers have the public key. To rotate it, add the new key to the Secret as `next.pem`: new servers get both public
keys, and once all servers have been replaced, `next.pem` can replace `key.pem`.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
import time
from collections.abc import Mapping
from typing import Any, Final, Protocol

from kinema_api import names
from kinema_api.signature import Signer, new_private_key
from kinema_operator.core.errors import OperatorError
from kinema_operator.core.plan import KubeObject
from kinema_operator.core.settings import Settings

KEY: Final = "key.pem"
NEXT_KEY: Final = "next.pem"
READ_AGAIN_SECONDS: Final = 60.0

log = logging.getLogger(__name__)


class OrderKeyUnusable(OperatorError):
    """The Secret has no usable key."""


class Secrets(Protocol):
    """The part of the API client that is needed here."""

    async def get(self, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        """One object by its name, or None."""

    async def create(self, manifest: KubeObject) -> tuple[dict[str, Any], bool]:
        """Create the object if it does not exist; returns it, and whether this call created it."""


class OrderKeys:
    """The operator's key, read when it is first needed and again periodically."""

    def __init__(self, settings: Settings, client: Secrets) -> None:
        self._namespace = settings.pod_namespace
        self._client = client
        self._signer: Signer | None = None
        self._public = ""
        self._pem = ""
        self._read_at = 0.0
        self._reading = asyncio.Lock()

    async def signer(self) -> Signer:
        """Signs requests to servers.

        Raises:
            ApiError: the Secret can be neither read nor created.
            OrderKeyUnusable: it has no usable key.
        """
        async with self._reading:
            if self._signer is None or time.monotonic() - self._read_at >= READ_AGAIN_SECONDS:
                await self._read()
        assert self._signer is not None
        return self._signer

    async def public(self) -> str:
        """The public keys for servers: one, or two during a rotation. Raises as `signer`."""
        await self.signer()
        return self._public

    async def _read(self) -> None:
        secret = await self._client.get("Secret", self._namespace, names.ORDER_KEY_SECRET)
        if secret is None:
            secret, made = await self._client.create(_new_secret(self._namespace))
            if made:
                log.info("created Secret %s with the signing key of orders to servers", names.ORDER_KEY_SECRET)
        try:
            pem, following = _text(secret, KEY), _text(secret, NEXT_KEY)
            signers = [Signer(each) for each in (pem, following) if each]
        except (ValueError, IndexError, TypeError, binascii.Error):
            signers, pem = [], ""
        if not signers or not pem:
            raise OrderKeyUnusable(
                f"Secret {self._namespace}/{names.ORDER_KEY_SECRET} has no Ed25519 key in {KEY}; delete the Secret, "
                "and "
                "the operator creates another one"
            )
        if pem != self._pem:
            self._signer, self._pem = signers[0], pem
        self._public = ",".join(signer.public_key for signer in signers)
        self._read_at = time.monotonic()


def _text(secret: Mapping[str, Any], field: str) -> str:
    return base64.b64decode((secret.get("data") or {}).get(field, "")).decode()


def _new_secret(namespace: str) -> dict[str, Any]:
    labels = {names.LABEL_NAME: "kinema", names.LABEL_PART_OF: "kinema", names.LABEL_MANAGED_BY: names.MANAGED_BY}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": names.ORDER_KEY_SECRET, "namespace": namespace, "labels": labels},
        "type": "Opaque",
        "data": {KEY: base64.b64encode(new_private_key().encode()).decode()},
    }
