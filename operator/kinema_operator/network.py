"""Egress that worker pods need, as NetworkPolicy rules: name resolution and the object store, and nothing else.

NetworkPolicy knows addresses and labels, never host names; what can be narrowed for a kind of endpoint is narrowed.
Ports in a policy are those of the pods behind a Service: a store's Service must use the same port as its pods.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import urlsplit

NAMESPACE_NAME_LABEL: Final = "kubernetes.io/metadata.name"
DNS_PORT: Final = 53

_SERVICE_HOST = re.compile(r"^[a-z0-9-]+\.(?P<namespace>[a-z0-9-]+)\.svc(\.|$)")
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


def dns_egress() -> dict[str, Any]:
    """Name resolution, wherever the cluster's resolver is (a Service, or an address on the node)."""
    return {"ports": [{"protocol": protocol, "port": DNS_PORT} for protocol in ("UDP", "TCP")]}


def store_egress(endpoint: str) -> dict[str, Any]:
    """The way to an object store `http(s)://host[:port]`.

    A Service of this cluster is narrowed to its namespace, an IP address to itself; any other name only to its port.
    """
    parts = urlsplit(endpoint)
    host = parts.hostname or ""
    port = parts.port or _DEFAULT_PORTS.get(parts.scheme, _DEFAULT_PORTS["https"])
    rule: dict[str, Any] = {"ports": [{"protocol": "TCP", "port": port}]}
    service = _SERVICE_HOST.match(host)
    if service:
        rule["to"] = [{"namespaceSelector": {"matchLabels": {NAMESPACE_NAME_LABEL: service["namespace"]}}}]
    elif (network := _host_network(host)) is not None:
        rule["to"] = [{"ipBlock": {"cidr": network}}]
    return rule


def store_egresses(endpoints: Iterable[str]) -> list[dict[str, Any]]:
    """One rule per endpoint that is not empty, in a stable order."""
    return [store_egress(endpoint) for endpoint in sorted({e for e in endpoints if e})]


def _host_network(host: str) -> str | None:
    try:
        return str(ipaddress.ip_network(host))
    except ValueError:
        return None
