"""One plain resource of each kind; tests change what they are about."""

from __future__ import annotations

from typing import Any

TRAINING: dict[str, Any] = {
    "apiVersion": "kinema.dev/v1alpha1",
    "kind": "VideoModelTraining",
    "metadata": {"name": "training"},
    "spec": {
        "model": {"preset": "tiny"},
        "data": {"world": {"seed": 7}},
        "optimization": {"steps": 100},
        "nodes": 2,
        "elastic": {"minNodes": 1, "maxNodes": 3},
        "publish": {"model": "published"},
    },
}
MODEL: dict[str, Any] = {
    "apiVersion": "kinema.dev/v1alpha1",
    "kind": "VideoModel",
    "metadata": {"name": "model"},
    "spec": {"source": {"training": "training"}},
}
GENERATION: dict[str, Any] = {
    "apiVersion": "kinema.dev/v1alpha1",
    "kind": "VideoGeneration",
    "metadata": {"name": "clip"},
    "spec": {"modelRef": {"name": "model"}, "prompt": "a red square moves right", "size": "24x24"},
}
