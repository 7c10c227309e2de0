"""Resources that tests, faults and measurements apply to a cluster: a tiny training, and a short clip."""

from __future__ import annotations

from typing import Any

from kinema_api import generation, names, training


def resource(kind: str, name: str, spec: dict[str, Any], namespace: str | None = None) -> dict[str, Any]:
    """A custom resource; without a `namespace`, in that of `kubectl apply`."""
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    return {"apiVersion": names.API_VERSION, "kind": kind, "metadata": metadata, "spec": spec}


def tiny_training(name: str, steps: int, nodes: int = 2, learning_rate: float = 1e-4, **spec: Any) -> dict[str, Any]:
    """A training of the tiny model on `nodes` nodes or fewer; `spec` replaces whole fields."""
    return resource(
        training.KIND,
        name,
        {
            "model": {"preset": "tiny"},
            "data": {"world": {"seed": 7}},
            "optimization": {"steps": steps, "batchTokens": 1024, "learningRate": learning_rate, "seed": 1},
            "nodes": nodes,
            "elastic": {"minNodes": 1, "maxNodes": nodes},
            "checkpoint": {"everySteps": 20, "keep": 2},
            **spec,
        },
    )


def short_clip(name: str, model: str, **spec: Any) -> dict[str, Any]:
    """A request for a clip of one second."""
    request = {"modelRef": {"name": model}, "prompt": "a red square moves right", "seconds": 1, "size": "24x24"}
    return resource(generation.KIND, name, request | spec)
