"""NetworkPolicies as iptables rules: a pure function from the objects of a cluster to the rules of one node.

Semantics are those of networking.k8s.io/v1. A pod is isolated in a direction once a policy selects it for
that direction; then only what some policy allows passes, and answers to it. What is refused is rejected at
once, so that a missing rule is seen as an error and not as a time-out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, ip_network
from typing import Any

Json = dict[str, Any]

HOOK = "KINEMA-POLICY"
INGRESS, EGRESS = "Ingress", "Egress"
REFUSE = "-j REJECT --reject-with icmp-admin-prohibited"
ENDED = ("Succeeded", "Failed")


@dataclass(frozen=True)
class Endpoint:
    """A pod as far as policies care.

    Attributes:
        ports: (name, protocol) -> number of its named container ports.
    """

    namespace: str
    name: str
    address: str
    node: str
    labels: dict[str, str]
    ports: dict[tuple[str, str], int] = field(default_factory=dict)


@dataclass(frozen=True)
class Allowance:
    """Traffic with `network` on `port` ("" for every port) of `protocol` ("" for every protocol) may pass."""

    network: str
    protocol: str = ""
    port: str = ""


@dataclass(frozen=True)
class World:
    """What the rules are made of: pods with an address, labels of namespaces, the policies."""

    endpoints: Sequence[Endpoint]
    namespaces: dict[str, dict[str, str]]
    policies: Sequence[Json]


def endpoint_of(pod: Json) -> Endpoint | None:
    """The endpoint of a Pod object; None if it has ended, has no address yet, or uses its node's network."""
    spec, status, metadata = pod["spec"], pod.get("status", {}), pod["metadata"]
    if spec.get("hostNetwork") or status.get("phase") in ENDED or not status.get("podIP"):
        return None
    ports = {
        (port["name"], port.get("protocol", "TCP")): int(port["containerPort"])
        for container in [*spec.get("initContainers", []), *spec["containers"]]
        for port in container.get("ports", [])
        if port.get("name")
    }
    labels = metadata.get("labels", {})
    return Endpoint(metadata["namespace"], metadata["name"], status["podIP"], spec.get("nodeName", ""), labels, ports)


def matches(selector: Json | None, labels: dict[str, str]) -> bool:
    """Whether a LabelSelector selects `labels`; an empty one selects everything."""
    selector = selector or {}
    wanted = selector.get("matchLabels") or {}
    if any(labels.get(key) != value for key, value in wanted.items()):
        return False
    return all(_holds(expression, labels) for expression in selector.get("matchExpressions") or [])


def _holds(expression: Json, labels: dict[str, str]) -> bool:
    key, values = expression["key"], expression.get("values") or []
    match expression["operator"]:
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
    return False


def compile_node(world: World, node: str, trusted: Iterable[str]) -> dict[str, list[str]]:
    """The iptables chains of `node`: name -> rules without the leading "-A NAME".

    Every node judges what enters any pod, not only its own: a request to a node port takes on the address of
    the node it came to before it goes on to another one, so it must be judged where it still shows its sender.

    Args:
        world: the cluster's objects.
        node: name of the node.
        trusted: networks that may reach every pod (the nodes and the developer's machine).
    """
    hook = ["-m conntrack --ctstate RELATED,ESTABLISHED -j RETURN"]
    hook += [f"-s {network} -j RETURN" for network in trusted]
    chains: dict[str, list[str]] = {HOOK: hook}
    for endpoint in sorted(world.endpoints, key=lambda e: (e.namespace, e.name)):
        directions = [(EGRESS, "-s", "-d")] if endpoint.node == node else []
        for direction, own, peer in [*directions, (INGRESS, "-d", "-s")]:
            allowances = allowed(world, endpoint, direction)
            if allowances is None:
                continue
            chain = chain_name(endpoint, direction)
            hook.append(f"{own} {endpoint.address}/32 -j {chain}")
            rules = [_rule(allowance, peer) for allowance in allowances]
            chains[chain] = [*rules, REFUSE]
    return chains


def chain_name(endpoint: Endpoint, direction: str) -> str:
    """A chain's name, stable for a pod, within iptables' 28 characters."""
    digest = hashlib.sha256(f"{endpoint.namespace}/{endpoint.name}".encode()).hexdigest()
    return f"KINEMA-{direction[0]}-{digest[:16]}"


def _rule(allowance: Allowance, peer: str) -> str:
    words = [] if allowance.network == "0.0.0.0/0" else [f"{peer} {allowance.network}"]
    if allowance.protocol:
        words.append(f"-p {allowance.protocol.lower()}")
    if allowance.port:
        words.append(f"--dport {allowance.port}")
    return " ".join([*words, "-j RETURN"])


def allowed(world: World, endpoint: Endpoint, direction: str) -> list[Allowance] | None:
    """What may pass at `endpoint`, sorted; None if no policy isolates it in that direction."""
    policies = [policy for policy in world.policies if _selects(policy, endpoint, direction)]
    if not policies:
        return None
    found: set[Allowance] = set()
    for policy in policies:
        for rule in policy["spec"].get(direction.lower()) or []:
            found.update(_rule_allowances(world, policy, rule, endpoint, direction))
    return sorted(found, key=lambda a: (a.network, a.protocol, a.port))


def _selects(policy: Json, endpoint: Endpoint, direction: str) -> bool:
    spec = policy["spec"]
    default = [INGRESS, EGRESS] if "egress" in spec else [INGRESS]
    return (
        policy["metadata"]["namespace"] == endpoint.namespace
        and direction in (spec.get("policyTypes") or default)
        and matches(spec.get("podSelector"), endpoint.labels)
    )


def _rule_allowances(world: World, policy: Json, rule: Json, endpoint: Endpoint, direction: str) -> Iterable[Allowance]:
    peers = rule.get("from" if direction == INGRESS else "to")
    ports = rule.get("ports") or [None]
    for network, pod in _networks(world, policy, peers):
        # A named port is looked up at the end that listens.
        listener = endpoint if direction == INGRESS else pod
        for port in ports:
            allowance = _with_port(network, port, listener)
            if allowance is not None:
                yield allowance


def _networks(world: World, policy: Json, peers: Sequence[Json] | None) -> Iterable[tuple[str, Endpoint | None]]:
    if not peers:
        yield "0.0.0.0/0", None
        return
    for peer in peers:
        if block := peer.get("ipBlock"):
            yield from ((network, None) for network in _block(block))
        else:
            yield from ((f"{pod.address}/32", pod) for pod in _peer_pods(world, policy, peer))


def _peer_pods(world: World, policy: Json, peer: Json) -> Iterable[Endpoint]:
    for pod in world.endpoints:
        if "namespaceSelector" in peer:
            near = matches(peer["namespaceSelector"], world.namespaces.get(pod.namespace, {}))
        else:
            near = pod.namespace == policy["metadata"]["namespace"]
        if near and matches(peer.get("podSelector"), pod.labels):
            yield pod


def _block(block: Json) -> list[str]:
    """An ipBlock less its exceptions; IPv6 blocks are empty here, since the cluster has no such addresses."""
    whole = ip_network(block["cidr"], strict=False)
    if not isinstance(whole, IPv4Network):
        return []
    networks = [whole]
    for text in block.get("except") or []:
        hole = ip_network(text, strict=False)
        if isinstance(hole, IPv4Network):
            networks = [rest for network in networks for rest in _without(network, hole)]
    return [str(network) for network in networks]


def _without(network: IPv4Network, hole: IPv4Network) -> list[IPv4Network]:
    if network.subnet_of(hole):
        return []
    return list(network.address_exclude(hole)) if hole.subnet_of(network) else [network]


def _with_port(network: str, port: Json | None, listener: Endpoint | None) -> Allowance | None:
    if port is None:
        return Allowance(network)
    protocol = port.get("protocol", "TCP")
    number = port.get("port")
    if number is None:
        return Allowance(network, protocol)
    if isinstance(number, str):
        named = listener.ports.get((number, protocol)) if listener else None
        return None if named is None else Allowance(network, protocol, str(named))
    end = port.get("endPort")
    return Allowance(network, protocol, f"{number}:{end}" if end else str(number))
