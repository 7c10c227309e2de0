"""Egress rules of worker pods for NetworkPolicies: DNS and the object store only.

NetworkPolicies have addresses and labels but no host names, so a rule is as narrow as the kind of endpoint allows.
Their ports are those of the pods behind a Service: a store's Service must use the same port as its pods.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from kinema_api.errors import StorageError, StoreUnusable
from kinema_api.forbidden import is_forbidden

NAMESPACE_NAME_LABEL: Final = "kubernetes.io/metadata.name"
DNS_PORT: Final = 53

_SERVICE_HOST = re.compile(r"^[a-z0-9-]+\.(?P<namespace>[a-z0-9-]+)\.svc(\.|$)")
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_NEVER: Final = re.compile(
    r"^(kubernetes(\.default(\.svc(\..*)?)?)?|metadata|metadata\.google\.internal|instance-data(\.ec2\.internal)?)$"
)
"""Names of the API server and of the metadata services of clouds."""


class StoreNotAllowed(StorageError):
    """The store in a spec is not on the administrator's list."""


@dataclass(frozen=True)
class Origin:
    """Scheme, host and port of an endpoint."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def parse_endpoint(endpoint: str) -> Origin:
    """The parts of http(s)://host[:port].

    Raises:
        StoreUnusable: it is not an endpoint.
    """
    try:
        parts = urlsplit(endpoint)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port, parts = "", None, urlsplit("")
    whole = parts.scheme in _DEFAULT_PORTS and host and not (parts.path or parts.query or parts.fragment)
    if not whole or "@" in parts.netloc or port == 0 or endpoint != endpoint.strip():
        raise StoreUnusable(
            f"{endpoint[:256]!r} is not an object store endpoint: write http://HOST:PORT or https://HOST:PORT, "
            "without user, "
            "path or query"
        )
    return Origin(parts.scheme, host.removesuffix("."), port or _DEFAULT_PORTS[parts.scheme])


def require_allowed(endpoint: str, own: str, allowed: Sequence[str]) -> None:
    """Check that an administrator has allowed the store, and that it is not a metadata service or the API server.

    Args:
        endpoint: endpoint in the spec.
        own: the operator's own store, which is always allowed.
        allowed: patterns scheme://host:port; `*` stands for one label of a host, or for any port.

    Raises:
        StoreUnusable: it is not an endpoint.
        StoreNotAllowed: it is not allowed.
    """
    if own and endpoint == own:
        return
    origin = parse_endpoint(endpoint)
    # IP addresses have many notations, so a host that looks like a number must be in the usual one.
    odd = origin.host.rpartition(".")[2][:1].isdigit() and _host_network(origin.host) is None
    servers = {os.environ.get("KUBERNETES_SERVICE_HOST", ""), "localhost.localdomain"} - {""}
    if odd or is_forbidden(origin.host) or _NEVER.match(origin.host) or origin.host in servers:
        raise StoreNotAllowed(
            f"{endpoint} is not allowed as an object store (the API server, or a metadata service): give the endpoint "
            "of an object store"
        )
    if own and _same(own, origin):
        return
    if not any(_matches(pattern, origin) for pattern in allowed):
        raise StoreNotAllowed(
            f"the store {endpoint} is not on the list of stores that may be used: use the operator's own, or ask an "
            "administrator to add it (allowedStores in the chart's values)"
        )


def is_allowed(endpoint: str, own: str, allowed: Sequence[str]) -> bool:
    """Whether it is a valid endpoint that `require_allowed` accepts."""
    try:
        parse_endpoint(endpoint)
        require_allowed(endpoint, own, allowed)
    except StorageError:
        return False
    return True


def _same(own: str, origin: Origin) -> bool:
    try:
        return parse_endpoint(own) == origin
    except StoreUnusable:
        return False


def _matches(pattern: str, origin: Origin) -> bool:
    scheme, _, rest = pattern.rstrip("/").partition("://")
    host, _, port = rest.rpartition(":") if re.search(r":(\d+|\*)$", rest) else (rest, "", "")
    wanted = host.strip("[]").lower()
    expression = r"[^.]+".join(re.escape(part) for part in wanted.split("*"))
    ports = {"*": origin.port, "": _DEFAULT_PORTS.get(scheme, 0)}
    number = ports[port] if port in ports else int(port)
    return scheme == origin.scheme and number == origin.port and bool(re.fullmatch(expression, origin.host))


def dns_egress() -> dict[str, Any]:
    """Egress to DNS, to any address: the cluster's resolver may be a Service or on the node."""
    return {"ports": [{"protocol": protocol, "port": DNS_PORT} for protocol in ("UDP", "TCP")]}


def store_egress(endpoint: str) -> dict[str, Any]:
    """Egress to an object store `http(s)://host[:port]`.

    For a Service of this cluster: to its namespace; for an IP address: to that address; for another host: to its port.

    Raises:
        StoreUnusable: it is not an endpoint.
    """
    scheme, _, rest = endpoint.partition("://")
    origin = parse_endpoint(f"{scheme}://{rest.partition('/')[0]}")
    rule: dict[str, Any] = {"ports": [{"protocol": "TCP", "port": origin.port}]}
    service = _SERVICE_HOST.match(origin.host)
    if service:
        rule["to"] = [{"namespaceSelector": {"matchLabels": {NAMESPACE_NAME_LABEL: service["namespace"]}}}]
    elif (network := _host_network(origin.host)) is not None:
        rule["to"] = [{"ipBlock": {"cidr": network}}]
    return rule


def endpoint_egress(url: str) -> dict[str, Any]:
    """Egress to the host and port of `http(s)://host[:port][/path]`, as `store_egress`. Raises StoreUnusable."""
    return store_egress(origin_of(url))


def origin_of(url: str) -> str:
    """`http(s)://host[:port]` of a URL with a path."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}"


def store_egresses(endpoints: Iterable[str]) -> list[dict[str, Any]]:
    """One rule per valid endpoint, in a stable order; invalid ones are left out."""
    rules = []
    for endpoint in sorted({e for e in endpoints if e}):
        try:
            rules.append(store_egress(endpoint))
        except StoreUnusable:
            continue
    return rules


def _host_network(host: str) -> str | None:
    try:
        return str(ipaddress.ip_network(host))
    except ValueError:
        return None
