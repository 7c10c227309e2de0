"""Values of the chart: what is refused, by name, and what keeps its type."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from integration.chart.rendered import (
    PEM,
    Render,
)
from integration.helm import CHART


def test_names_made_of_digits_stay_text(render: Render) -> None:
    digits = {
        "crds": {"install": False},
        "image": {"pullSecrets": ["1"]},
        "operator": {"nodeSelector": {"zone": "2"}, "priorityClassName": "3"},
        "minio": {"enabled": True, "persistence": {"enabled": True, "size": "4", "storageClassName": "5"}},
        "metrics": {"podMonitor": {"enabled": True}},
        "store": {"bucket": "7777"},
    }
    tenant = {"namespaced": True, "watchNamespace": "888"}
    for values in (digits, {**digits, **tenant}):
        objects = render(values, "999", "1000")
        wrong = [f"{o['kind']} {where}" for o in objects for where in _numbers_for_text(o, "")]
        assert not wrong


TEXT_FIELDS = {
    "name",
    "namespace",
    "image",
    "interval",
    "storage",
    "secretName",
    "claimName",
    "priorityClassName",
    "storageClassName",
}
TEXT_MAPS = {"labels", "annotations", "matchLabels", "nodeSelector"}


def _numbers_for_text(value: Any, path: str) -> list[str]:
    """Where a number stands and the API server wants text."""
    if isinstance(value, list):
        return [w for n, item in enumerate(value) for w in _numbers_for_text(item, f"{path}[{n}]")]
    if not isinstance(value, dict):
        return []
    found = []
    for key, child in value.items():
        inside = path.rpartition(".")[2] in TEXT_MAPS
        if (key in TEXT_FIELDS or inside or key in ("args", "command", "matchNames")) and not _is_text(child):
            found.append(f"{path}.{key} is {child!r}")
        found += _numbers_for_text(child, f"{path}.{key}")
    return found


def _is_text(value: Any) -> bool:
    if isinstance(value, list):
        return all(_is_text(item) for item in value)
    return isinstance(value, str | dict)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"replicas": 0}, "/replicas"),
        ({"minio": {"nodePort": 80}}, "/minio/nodePort"),
        ({"store": {"endpoint": "minio:9000"}}, "/store/endpoint"),
        ({"store": {"bucket": "My_Bucket"}}, "/store/bucket"),
        ({"store": {"caBundle": "/etc/ssl/ca.crt"}}, "/store/caBundle"),
        ({"store": {"caBundle": f"{PEM}-----BEGIN EC PRIVATE KEY-----"}}, "/store/caBundle"),
        ({"store": {"caBundle": PEM, "endpoint": "http://s3"}}, "store.caBundle is for a store that is reached by TLS"),
        ({"store": {"caBundle": PEM}, "minio": {"enabled": True}}, "store.caBundle is for a store"),
        ({"store": {"secretKey": "short"}}, "/store/secretKey"),
        ({"image": {"pullPolicy": "Sometimes"}}, "/image/pullPolicy"),
        ({"settings": {"PATH": "/"}}, "/settings"),
        ({"minoi": {"enabled": True}}, "minoi"),
        ({"operator": {"runAsUser": 0}}, "/operator/runAsUser"),
        ({"watchNamespace": "team-a"}, "watchNamespace needs namespaced: true"),
        ({"store": {"accessKey": "user"}}, "give both store.accessKey and store.secretKey"),
        ({"minio": {"enabled": True}, "store": {"existingSecret": "s3"}}, "leave store.existingSecret empty"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_values_are_refused_by_name(
    values: dict[str, Any], words: str, template: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    done = template(values)
    assert done.returncode != 0
    assert words in done.stderr


def test_every_value_is_in_the_schema() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = json.loads((CHART / "values.schema.json").read_text())

    def unknown(value: Any, known: dict[str, Any], path: str) -> list[str]:
        if not isinstance(value, dict) or "properties" not in known:
            return []
        missing = [f"{path}.{name}" for name in value if name not in known["properties"]]
        return missing + [
            name
            for key, child in value.items()
            if key in known["properties"]
            for name in unknown(child, known["properties"][key], f"{path}.{key}")
        ]

    assert unknown(values, schema, "") == []
