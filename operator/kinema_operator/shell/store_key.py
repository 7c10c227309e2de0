"""The key of the chart's MinIO, created once by the operator: a chart would render another random key each time.

`helm template`, Argo CD and dry runs cannot read the cluster, so a key in a template would change under a running
store. The operator creates the Secret if it does not exist and never changes it.
"""

from __future__ import annotations

import base64
import logging
import secrets
from pathlib import Path
from typing import Any, Final

from kinema_api import names
from kinema_api.objectstore import StoreCredentials
from kinema_operator.core.errors import AlreadyExists, ApiError
from kinema_operator.core.settings import Settings
from kinema_operator.shell.client import Client
from kinema_operator.shell.connection import Connection
from kinema_operator.shell.secrets import ACCESS_KEY, SECRET_KEY

USER: Final = "kinema"
KEY_BYTES: Final = 30
"""Random bytes of a secret key: 40 characters of base64, which is the most that MinIO accepts."""

log = logging.getLogger(__name__)


async def ensure(connection: Connection, settings: Settings) -> None:
    """Create the Secret `settings.store_generated_secret`, if it is set and does not exist.

    Needs no leadership: the API server lets only one replica create it. If the key is mounted already, no request is
    sent. A refusal is logged; without the key, resources that need the store report it in their conditions.
    """
    if not settings.store_generated_secret or _is_mounted(settings.store_credentials_file):
        return
    client = Client(connection, settings.api_timeout_seconds)
    try:
        await client.post(generated_secret(settings.pod_namespace, settings.store_generated_secret))
        log.info("created Secret %s with a random key for the store", settings.store_generated_secret)
    except AlreadyExists:
        pass  # kept as it is: the store runs with its key
    except ApiError as error:
        log.error("cannot create the store's Secret %s: %s", settings.store_generated_secret, error)  # noqa: TRY400
    finally:
        await client.close()


def _is_mounted(file: Path | None) -> bool:
    return file is not None and file.is_file() and file.stat().st_size > 0


def generated_secret(namespace: str, name: str) -> dict[str, Any]:
    """A Secret with a new random key, in the format for MinIO and the operator."""
    key = secrets.token_urlsafe(KEY_BYTES)
    credentials = StoreCredentials(access_key=USER, secret_key=key).model_dump_json(by_alias=True, exclude_none=True)
    content = {ACCESS_KEY: USER, SECRET_KEY: key, names.STORAGE_CREDENTIALS_KEY: credentials}
    labels = {names.LABEL_NAME: "kinema", names.LABEL_PART_OF: "kinema", names.LABEL_MANAGED_BY: names.MANAGED_BY}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "type": "Opaque",
        "data": {field: base64.b64encode(text.encode()).decode() for field, text in content.items()},
    }
