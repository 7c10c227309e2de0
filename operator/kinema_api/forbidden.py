"""Addresses that no object store may have: the host itself, metadata services of clouds, multicast."""

from __future__ import annotations

import ipaddress
from typing import Final

FORBIDDEN_NETWORKS: Final = tuple(
    ipaddress.ip_network(network)
    for network in (
        "0.0.0.0/8",  # this host
        "169.254.0.0/16",  # link-local: the metadata services of clouds
        "100.100.100.200/32",  # metadata of Alibaba Cloud
        "192.0.0.192/32",  # metadata of Oracle Cloud
        "224.0.0.0/3",  # multicast and reserved
        "::/128",
        "fe80::/10",
        "fd00:ec2::254/128",  # metadata of AWS over IPv6
        "ff00::/8",
    )
)
"""Networks without object stores, some of which serve the credentials of machines."""


def is_forbidden(address: str) -> bool:
    """Whether no store may have this IP address, in any notation."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped:
        found = found.ipv4_mapped
    return any(found.version == network.version and found in network for network in FORBIDDEN_NETWORKS)
