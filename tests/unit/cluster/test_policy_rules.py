"""NetworkPolicy semantics, from objects to iptables rules."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.policy_rules import (
    HOOK,
    REFUSE,
    Allowance,
    Endpoint,
    World,
    allowed,
    chain_name,
    compile_node,
    endpoint_of,
    matches,
)

WEB = Endpoint("shop", "web", "10.244.1.2", "node1", {"app": "web"}, {("http", "TCP"): 8080})
DB = Endpoint("shop", "db", "10.244.2.2", "node2", {"app": "db"}, {("sql", "TCP"): 5432})
SPY = Endpoint("wild", "spy", "10.244.3.2", "node3", {"app": "web"})
NAMESPACES = {"shop": {"team": "a"}, "wild": {"team": "b"}}
ANY = "0.0.0.0/0"


def policy(spec: dict[str, Any], namespace: str = "shop") -> dict[str, Any]:
    return {"metadata": {"namespace": namespace, "name": "p"}, "spec": {"podSelector": {}, **spec}}


def world(*specs: dict[str, Any]) -> World:
    return World([WEB, DB, SPY], NAMESPACES, [policy(spec) for spec in specs])


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        (None, True),
        ({}, True),
        ({"matchLabels": {"app": "web"}}, True),
        ({"matchLabels": {"app": "db"}}, False),
        ({"matchLabels": {"absent": ""}}, False),
        ({"matchExpressions": [{"key": "app", "operator": "In", "values": ["web", "db"]}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]}, False),
        ({"matchExpressions": [{"key": "absent", "operator": "NotIn", "values": ["x"]}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "Exists"}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}, False),
        ({"matchLabels": {"app": "web"}, "matchExpressions": [{"key": "x", "operator": "Exists"}]}, False),
    ],
)
def test_label_selectors(selector: dict[str, Any] | None, expected: bool) -> None:
    assert matches(selector, {"app": "web"}) is expected


WEB_PEER = {"podSelector": {"matchLabels": {"app": "web"}}}
EVERYWHERE = {"namespaceSelector": {}}
TEAM_B = {"namespaceSelector": {"matchLabels": {"team": "b"}}}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param({}, [], id="isolated, nothing allowed"),
        pytest.param({"ingress": [{}]}, [Allowance(ANY)], id="an empty rule allows all"),
        pytest.param({"ingress": [{"from": []}]}, [Allowance(ANY)], id="no peers are all peers"),
        pytest.param({"ingress": [{"from": [WEB_PEER]}]}, [Allowance("10.244.1.2/32")], id="own namespace only"),
        pytest.param(
            {"ingress": [{"from": [{**EVERYWHERE, **WEB_PEER}]}]},
            [Allowance("10.244.1.2/32"), Allowance("10.244.3.2/32")],
            id="both selectors of one peer must hold",
        ),
        pytest.param({"ingress": [{"from": [TEAM_B]}]}, [Allowance("10.244.3.2/32")], id="namespace labels"),
        pytest.param(
            {"ingress": [{"from": [TEAM_B, WEB_PEER]}]},
            [Allowance("10.244.1.2/32"), Allowance("10.244.3.2/32")],
            id="either of two peers may hold",
        ),
        pytest.param(
            {"ingress": [{"from": [WEB_PEER], "ports": [{"port": 5432}, {"port": 53, "protocol": "UDP"}]}]},
            [Allowance("10.244.1.2/32", "TCP", "5432"), Allowance("10.244.1.2/32", "UDP", "53")],
            id="ports",
        ),
        pytest.param(
            {"ingress": [{"ports": [{"port": 8000, "endPort": 8080}]}]},
            [Allowance(ANY, "TCP", "8000:8080")],
            id="port range",
        ),
        pytest.param(
            {"ingress": [{"ports": [{"protocol": "UDP"}]}]}, [Allowance(ANY, "UDP")], id="protocol without port"
        ),
        pytest.param(
            {"ingress": [{"ports": [{"port": "sql"}]}]},
            [Allowance(ANY, "TCP", "5432")],
            id="a named port is the target's",
        ),
        pytest.param({"ingress": [{"ports": [{"port": "absent"}]}]}, [], id="an unknown named port allows nothing"),
        pytest.param(
            {"ingress": [{"from": [{"ipBlock": {"cidr": "192.168.0.0/30", "except": ["192.168.0.2/31"]}}]}]},
            [Allowance("192.168.0.0/31")],
            id="a block less its exceptions",
        ),
        pytest.param(
            {"ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/24", "except": ["10.0.0.0/8"]}}]}]},
            [],
            id="an exception that swallows the block",
        ),
        pytest.param({"ingress": [{"from": [{"ipBlock": {"cidr": "::/0"}}]}]}, [], id="other address family"),
    ],
)
def test_what_ingress_allows_at_the_database(spec: dict[str, Any], expected: list[Allowance]) -> None:
    assert allowed(world({"podSelector": {"matchLabels": {"app": "db"}}, **spec}), DB, "Ingress") == expected


def test_policies_add_up() -> None:
    both = world({"ingress": [{"from": [WEB_PEER]}]}, {"ingress": [{"from": [TEAM_B]}]})
    assert allowed(both, DB, "Ingress") == [Allowance("10.244.1.2/32"), Allowance("10.244.3.2/32")]


def test_a_named_egress_port_is_looked_up_at_each_destination() -> None:
    rules = world({"policyTypes": ["Egress"], "egress": [{"to": [{"podSelector": {}}], "ports": [{"port": "sql"}]}]})
    assert allowed(rules, WEB, "Egress") == [Allowance("10.244.2.2/32", "TCP", "5432")]


@pytest.mark.parametrize(
    ("spec", "ingress", "egress"),
    [
        ({}, True, False),
        ({"egress": []}, True, True),
        ({"policyTypes": ["Egress"]}, False, True),
        ({"policyTypes": ["Ingress", "Egress"]}, True, True),
    ],
)
def test_directions_that_a_policy_isolates(spec: dict[str, Any], ingress: bool, egress: bool) -> None:
    one = world(spec)
    assert (allowed(one, WEB, "Ingress") is not None, allowed(one, WEB, "Egress") is not None) == (ingress, egress)


def test_a_policy_says_nothing_about_other_namespaces() -> None:
    assert allowed(world({}), SPY, "Ingress") is None


@pytest.mark.parametrize("node", ["node1", "node2", "node3"])
def test_every_node_judges_what_enters_any_pod(node: str) -> None:
    rules = world({"podSelector": {"matchLabels": {"app": "db"}}, "ingress": [{"from": [WEB_PEER]}]})
    chain = chain_name(DB, "Ingress")
    assert compile_node(rules, node, trusted=["10.10.0.0/24"]) == {
        HOOK: [
            "-m conntrack --ctstate RELATED,ESTABLISHED -j RETURN",
            "-s 10.10.0.0/24 -j RETURN",
            f"-d 10.244.2.2/32 -j {chain}",
        ],
        chain: ["-s 10.244.1.2/32 -j RETURN", REFUSE],
    }


def test_only_a_pods_own_node_judges_what_leaves_it() -> None:
    rules = world({"podSelector": {"matchLabels": {"app": "db"}}, "policyTypes": ["Egress"]})
    assert compile_node(rules, "node1", trusted=[]).keys() == {HOOK}
    assert chain_name(DB, "Egress") in compile_node(rules, "node2", trusted=[])


def test_egress_is_judged_before_ingress_by_destination() -> None:
    rules = world({"policyTypes": ["Egress"], "egress": [{"to": [WEB_PEER], "ports": [{"port": 80}]}]})
    chain = chain_name(DB, "Egress")
    chains = compile_node(rules, "node2", trusted=[])
    assert chains[HOOK][-1] == f"-s 10.244.2.2/32 -j {chain}"
    assert chains[chain] == ["-d 10.244.1.2/32 -p tcp --dport 80 -j RETURN", REFUSE]


def test_chain_names_fit_into_iptables() -> None:
    longest = Endpoint("n" * 63, "p" * 253, "10.244.1.9", "node1", {})
    assert len(chain_name(longest, "Ingress")) <= 28


POD = {
    "metadata": {"namespace": "shop", "name": "web", "labels": {"app": "web"}},
    "spec": {
        "nodeName": "node1",
        "containers": [{"ports": [{"name": "http", "containerPort": 8080}, {"containerPort": 1}]}],
    },
    "status": {"phase": "Running", "podIP": "10.244.1.2"},
}


def test_a_running_pod_is_an_endpoint() -> None:
    assert endpoint_of(POD) == WEB


@pytest.mark.parametrize(
    "change",
    [
        {"status": {"phase": "Succeeded", "podIP": "10.244.1.2"}},
        {"status": {"phase": "Pending"}},
        {"spec": {**POD["spec"], "hostNetwork": True}},
    ],
)
def test_a_pod_without_an_address_of_its_own_is_none(change: dict[str, Any]) -> None:
    assert endpoint_of({**POD, **change}) is None
