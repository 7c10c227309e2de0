"""The key of the chart's own MinIO: made here, once, because a chart with a random key renders another one each time.

`helm template`, Argo CD and dry runs cannot look up what is in the cluster, so a key in a template changes under a
running store. The operator makes the Secret if there is none and never changes one that is there.
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
from kinema_operator.shell.storage import ACCESS_KEY, SECRET_KEY

USER: Final = "kinema"
KEY_BYTES: Final = 30
"""Random bytes of a secret key: 40 characters of base64, which is the most that MinIO accepts."""

log = logging.getLogger(__name__)


async def ensure(connection: Connection, settings: Settings) -> None:
    """Make the Secret that `settings.store_generated_secret` names, if it names one and there is none.

    Needs no leadership: of two replicas that try, the API server lets one create it. Where the key is mounted already
    nothing is asked, so a restart writes nothing. A refusal is logged; the store then has no key, which every resource
    that needs the store says in its conditions.
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
    """A Secret with a new random key, in the form in which MinIO and the operator read it."""
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
