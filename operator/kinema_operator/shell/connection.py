"""Address and credentials of the API server, loaded once by the official client, shared by Kopf and our client.

Only the configuration and TLS code of the official client is used, since its typed models take 25 times as long as
plain JSON (measured). Its in-cluster loader renews the service account's token.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import aiohttp
import kopf
from kubernetes.aio import config as kubernetes_config
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.client.rest import RESTClientObject

from kinema_operator.core.errors import NoCredentials

SERVICE_ACCOUNT_TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token"
READ_BUFFER_BYTES = 1 << 20
USER_AGENT = "kinema-operator"


class Connection:
    """An address and credentials, from which HTTP sessions are created."""

    def __init__(self, configuration: Any, user_agent: str = USER_AGENT) -> None:
        self._configuration = configuration
        self._user_agent = user_agent
        self._tls = RESTClientObject(configuration).ssl_context
        self.server: str = configuration.host.rstrip("/")

    @classmethod
    async def load(cls, kubeconfig: Path | None = None, user_agent: str = USER_AGENT) -> Connection:
        """Credentials of `kubeconfig` or KUBECONFIG if given, else of the pod's service account, else ~/.kube/config.

        Raises:
            NoCredentials: there are none, or they cannot be read.
        """
        configuration = Configuration()
        try:
            if kubeconfig is None and _in_pod():
                kubernetes_config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
            else:
                path = str(kubeconfig) if kubeconfig else None
                await kubernetes_config.load_kube_config(path, client_configuration=configuration)  # type: ignore[no-untyped-call]
        except (kubernetes_config.ConfigException, OSError) as error:
            raise NoCredentials(
                f"no credentials for an API server ({error}); set KUBECONFIG or run in a pod with a service account"
            ) from None
        return cls(configuration, user_agent)

    async def headers(self) -> dict[str, str]:
        """Headers that authenticate a request, with the current token."""
        headers = {}
        for setting in (await self._configuration.auth_settings()).values():
            if setting["in"] == "header" and setting["value"]:
                headers[setting["key"]] = setting["value"]
        return headers

    def session(self) -> aiohttp.ClientSession:
        """A new session without a limit of connections: the client limits requests, so that no watch starves a
        write."""
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self._tls, limit=0),
            headers={"User-Agent": self._user_agent, "Accept": "application/json"},
            read_bufsize=READ_BUFFER_BYTES,
            proxy=self._configuration.proxy,
        )

    async def for_kopf(self) -> kopf.ConnectionInfo:
        """The same credentials for Kopf."""
        configuration = self._configuration
        authorization = (await self.headers()).get("authorization", "")
        scheme, _, token = authorization.partition(" ")
        return kopf.ConnectionInfo(
            server=self.server,
            ca_path=configuration.ssl_ca_cert,
            insecure=not configuration.verify_ssl,
            certificate_path=configuration.cert_file,
            private_key_path=configuration.key_file,
            scheme=scheme or None,
            token=token or None,
            proxy_url=configuration.proxy,
        )


def _in_pod() -> bool:
    return "KUBECONFIG" not in os.environ and os.path.exists(SERVICE_ACCOUNT_TOKEN)
